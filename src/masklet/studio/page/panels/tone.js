/** The colours of confidence: from warm for doubtful to blue-green for sure. They also differ in brightness. */

/** @type {[number, [number, number, number]][]} */
const STOPS = [
    [0.0, [226, 72, 61]],
    [0.35, [240, 128, 50]],
    [0.6, [236, 190, 80]],
    [0.8, [96, 176, 152]],
    [1.0, [52, 148, 160]],
];

/**
 * @param {number} confidence  0 to 1
 * @returns {string}
 */
export function tone(confidence) {
    const value = Math.max(0, Math.min(1, confidence));
    const above = Math.max(
        1,
        STOPS.findIndex(([at]) => at >= value),
    );
    const [low, from] = STOPS[above - 1];
    const [high, to] = STOPS[above];
    const share = (value - low) / (high - low);
    const [red, green, blue] = from.map((part, index) => Math.round(part + share * (to[index] - part)));
    return `rgb(${red}, ${green}, ${blue})`;
}

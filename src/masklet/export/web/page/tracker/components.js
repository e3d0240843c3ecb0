/** Removes specks and pinholes from a small mask, like masklet/components.py. */

const SPECK = 0.1; // components below this share of the largest component's area are removed
const PINHOLE = 0.02; // holes below this share of the mask's area are filled

const BESIDE = [
    [1, 0],
    [-1, 0],
    [0, 1],
    [0, -1],
];
const AT_CORNERS = [
    [1, 1],
    [1, -1],
    [-1, 1],
    [-1, -1],
];

/**
 * Remove components that are much smaller than the largest one, and fill small holes, by changing the sign of logits.
 *
 * @param {Float32Array} logits  of a square
 * @param {number} side
 * @param {[number, number][]} kept  column and row of cells whose component is not removed
 * @param {[number, number][]} leftOut  cells whose hole is not filled
 */
export function removeSpecks(logits, side, kept, leftOut) {
    const whole = Uint8Array.from(logits, (value) => Number(value > 0));
    const components = findComponents(whole, side, 1, [...BESIDE, ...AT_CORNERS]);
    const least = SPECK * Math.max(0, ...components.map(({ cells }) => cells.length));
    const asked = new Set(kept.map(([x, y]) => y * side + x));
    let area = 0;
    for (const { cells } of components) {
        if (cells.length >= least || cells.some((cell) => asked.has(cell))) area += cells.length;
        else for (const cell of cells) whole[cell] = 0;
    }
    const refused = new Set(leftOut.map(([x, y]) => y * side + x));
    for (const { cells, isAtEdge } of findComponents(whole, side, 0, BESIDE)) {
        if (isAtEdge || cells.length >= PINHOLE * area || cells.some((cell) => refused.has(cell))) continue;
        for (const cell of cells) whole[cell] = 1;
    }
    return logits.map((value, cell) => (Number(value > 0) === whole[cell] ? value : -value));
}

/**
 * The connected components of cells with this value.
 *
 * @param {Uint8Array} mask
 * @param {number} side
 * @param {number} value
 * @param {number[][]} steps  offsets of connected neighbours
 */
function findComponents(mask, side, value, steps) {
    const seen = new Uint8Array(mask.length);
    const components = [];
    for (let start = 0; start < mask.length; start++) {
        if (mask[start] !== value || seen[start]) continue;
        const cells = [start];
        seen[start] = 1;
        let isAtEdge = false;
        for (let done = 0; done < cells.length; done++) {
            const [x, y] = [cells[done] % side, Math.floor(cells[done] / side)];
            if (x === 0 || y === 0 || x === side - 1 || y === side - 1) isAtEdge = true;
            for (const [dx, dy] of steps) {
                if (x + dx < 0 || x + dx >= side || y + dy < 0 || y + dy >= side) continue;
                const next = (y + dy) * side + x + dx;
                if (mask[next] !== value || seen[next]) continue;
                seen[next] = 1;
                cells.push(next);
            }
        }
        components.push({ cells, isAtEdge });
    }
    return components;
}

/** Making elements without HTML strings: a name is always text, never markup. */

/** @typedef {Node | string | number | null | false | undefined} Child */

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element; properties that start with "on" are listeners, the rest attributes. null and false leave one out.
 *
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, unknown>} [props]
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function h(tag, props = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(props)) {
        if (value === null || value === undefined || value === false) continue;
        if (name.startsWith("on")) {
            element.addEventListener(name.slice(2), /** @type {EventListener} */ (value));
        } else {
            element.setAttribute(name, value === true ? "" : String(value));
        }
    }
    fill(element, ...children);
    return element;
}

/**
 * Put these children in place of what an element held.
 *
 * @param {Element} element
 * @param {...Child} children
 */
export function fill(element, ...children) {
    const kept = children.filter((child) => child !== null && child !== undefined && child !== false);
    element.replaceChildren(
        .../** @type {Node[]} */ (kept.map((child) => (child instanceof Node ? child : String(child)))),
    );
}

/**
 * An icon from icons.svg, which `loadIcons` has put into the page; hidden from screen readers.
 *
 * @param {string} name
 */
export function icon(name) {
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("class", "icon");
    svg.setAttribute("aria-hidden", "true");
    const use = document.createElementNS(SVG, "use");
    use.setAttribute("href", `#${name}`);
    svg.append(use);
    return svg;
}

/** Put all icons into the page once, so that none is fetched again or blinks. */
export async function loadIcons() {
    const text = await (await fetch("icons.svg")).text();
    const sheet = new DOMParser().parseFromString(text, "image/svg+xml").documentElement;
    sheet.setAttribute("class", "icon-sheet");
    sheet.setAttribute("aria-hidden", "true");
    document.body.prepend(document.adoptNode(sheet));
}

/**
 * A button that shows an icon; the label is for the tooltip and for screen readers.
 *
 * @param {string} iconName
 * @param {string} label
 * @param {() => void} press
 * @param {Record<string, unknown>} [props]
 */
export function iconButton(iconName, label, press, props = {}) {
    return h(
        "button",
        { type: "button", class: "icon-button", "aria-label": label, title: label, onclick: press, ...props },
        icon(iconName),
    );
}

/**
 * The element with this id, which index.html has.
 *
 * @param {string} id
 * @returns {HTMLElement}
 */
export function byId(id) {
    const element = document.getElementById(id);
    if (!element) throw new Error(`index.html has no element #${id}`);
    return element;
}

/**
 * Do something that takes a while for a button. It cannot be pressed again meanwhile, and keeps the focus.
 *
 * @param {HTMLButtonElement} button
 * @param {() => Promise<void>} run
 */
export async function whileBusy(button, run) {
    if (button.ariaDisabled === "true") return;
    button.ariaDisabled = "true";
    try {
        await run();
    } finally {
        button.ariaDisabled = null;
    }
}

/**
 * Do what can wait until the stage has painted: a click should show its mask first.
 *
 * @param {() => void} run
 */
export function afterPaint(run) {
    requestAnimationFrame(() => setTimeout(run));
}

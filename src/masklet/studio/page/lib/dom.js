/** Creates elements without HTML strings, so that user input is never parsed as markup. */

/** @typedef {Node | string | number | null | false | undefined} Child */

const SVG = "http://www.w3.org/2000/svg";

/**
 * Create an element. Properties that start with "on" are listeners, others are attributes; null and false are omitted.
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
 * Replace an element's children.
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
 * Make these the element's children. If they are already, nothing moves, so that focus and layout stay.
 *
 * @param {Element} element
 * @param {...Element} children
 */
export function arrange(element, ...children) {
    const isSame = (/** @type {Element} */ child, /** @type {number} */ index) => child === element.children[index];
    if (children.length !== element.children.length || !children.every(isSame)) element.replaceChildren(...children);
}

/**
 * An icon of icons.svg, which `loadIcons` has added to the page. It is hidden from screen readers.
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

/** Add all icons to the page once, so that they appear without another request. */
export async function loadIcons() {
    const text = await (await fetch("icons.svg")).text();
    const sheet = new DOMParser().parseFromString(text, "image/svg+xml").documentElement;
    sheet.setAttribute("class", "icon-sheet");
    sheet.setAttribute("aria-hidden", "true");
    document.body.prepend(document.adoptNode(sheet));
}

/**
 * A button with an icon. The label is its tooltip and its name for screen readers.
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
 * The element of index.html with this id.
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
 * Run a slow action of a button. Until it ends, the button keeps the focus but does nothing.
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
 * Run something after the next paint, so that it does not delay the mask of a click.
 *
 * @param {() => void} run
 */
export function afterPaint(run) {
    requestAnimationFrame(() => setTimeout(run));
}

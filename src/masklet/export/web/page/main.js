/** The entry point: shows the first page or an open clip, and loads the model. */

import { byId, fill, h, icon, iconButton, loadIcons } from "./lib/dom.js";
import { Store } from "./lib/store.js";
import { complain } from "./lib/toast.js";
import { openCamera, openFile } from "./media/clips.js";
import { applyTheme, themeButton } from "./panels/theme.js";
import { TrackerClient } from "./tracker/client.js";
import { home } from "./view/home.js";
import { seek, work } from "./view/work.js";
import { Workspace } from "./workspace.js";

/** @import { Clip } from "./media/clips.js" */
/** @import { Loaded } from "./tracker/client.js" */

/**
 * @typedef {object} State
 * @property {Loaded | null} loaded
 * @property {number} progress  of loading the model, from 0 to 1
 * @property {boolean} isOpening
 * @property {Workspace | null} workspace  null on the first page
 */

const ISOLATED = "masklet-isolated";
const WORKER_START = 3000; // milliseconds to wait for the service worker

export class Page {
    constructor() {
        /** @type {Store<State>} */
        this.store = new Store({ loaded: null, progress: 0, isOpening: false, workspace: null });
        this.tracker = new TrackerClient((progress) => this.store.set({ progress }));
    }

    /**
     * Load the model.
     *
     * @param {URLSearchParams} options  `run` and `threads` override the fastest choice
     */
    async load(options) {
        const provider = options.get("run");
        const threads = Number(options.get("threads")) || null;
        this.store.set({ loaded: await this.tracker.request("load", { provider, threads }) });
    }

    /** @param {File} file */
    async openFile(file) {
        await this.#open(() => openFile(file));
    }

    async openCamera() {
        await this.#open(openCamera);
    }

    /** Return to the first page. */
    close() {
        this.store.state.workspace?.close();
        this.store.set({ workspace: null });
    }

    /** @param {() => Promise<Clip>} open */
    async #open(open) {
        if (this.store.state.isOpening) return;
        this.store.set({ isOpening: true });
        try {
            const workspace = new Workspace(this.tracker, await open());
            this.close();
            this.store.set({ workspace });
            void workspace.open();
        } catch (error) {
            complain(error);
        }
        this.store.set({ isOpening: false });
    }
}

/** @param {Page} page */
function topbar(page) {
    const status = h("span", { class: "status", role: "status" });
    const back = iconButton("back", "Open something else", () => page.close());
    page.store.watch(["loaded", "progress"], () => {
        const { loaded, progress } = page.store.state;
        const threads = loaded?.threads === 1 ? "one thread" : `${loaded?.threads} threads`;
        const runs = loaded?.provider === "webgpu" ? "WebGPU" : `WebAssembly, ${threads}`;
        const words = loaded ? runs : `Loading ${Math.round(100 * progress)} %`;
        fill(status, h("i", { class: loaded ? "dot good" : "dot busy" }), words);
    });
    page.store.watch(["workspace"], () => {
        back.hidden = page.store.state.workspace === null;
    });
    return h(
        "header",
        { class: "topbar" },
        back,
        h("span", { class: "brand" }, h("span", {}, "masklet"), h("small", {}, "in your browser")),
        h("span", { class: "gap" }),
        status,
        themeButton(),
    );
}

/**
 * @param {Element} main
 * @param {unknown} error
 */
function showFailure(main, error) {
    const message = error instanceof Error ? error.message : String(error);
    fill(
        main,
        h(
            "div",
            { class: "failure", role: "alert" },
            icon("warning"),
            h("p", {}, "The model cannot run here."),
            h("p", { class: "hint" }, message),
            h("button", { type: "button", class: "primary", onclick: () => location.reload() }, "Try again"),
        ),
    );
}

/** @param {Page} page */
function listen(page) {
    for (const kind of ["dragover", "drop"]) window.addEventListener(kind, (event) => event.preventDefault());
    window.addEventListener("drop", (event) => {
        const file = event.dataTransfer?.files[0];
        if (file) void page.openFile(file);
    });
    window.addEventListener("paste", (event) => {
        const file = event.clipboardData?.files[0];
        if (file) void page.openFile(file);
    });
    window.addEventListener("keydown", (event) => {
        const { workspace } = page.store.state;
        if (!workspace || (event.target instanceof HTMLInputElement && event.key.startsWith("Arrow"))) return;
        const { frame, object } = workspace.state;
        const isCommand = event.ctrlKey || event.metaKey;
        if (isCommand && event.key === "z") void workspace.undo();
        else if (isCommand) return;
        else if (event.key === "ArrowLeft") void seek(workspace, frame - 1);
        else if (event.key === "ArrowRight") void seek(workspace, frame + 1);
        else if (event.key === "t") void workspace.track();
        else if (event.key === "n") workspace.set({ object: null, isPositive: true });
        else if (event.key === "Delete" && object !== null) void workspace.remove(object);
        else if (event.key === "Escape") workspace.stop();
        else return;
        event.preventDefault();
    });
}

/**
 * Reload the page by a service worker that makes it cross-origin isolated, so that it can use threads.
 *
 * @returns {Promise<boolean>} whether the page is being reloaded
 */
async function isolate() {
    const workers = window.isSecureContext ? navigator.serviceWorker : null;
    if (window.crossOriginIsolated || !workers || sessionStorage.getItem(ISOLATED)) return false;
    sessionStorage.setItem(ISOLATED, "tried"); // only once: if the page still is not isolated, it runs in one thread
    /** @type {Promise<null>} */
    const late = new Promise((resolve) => setTimeout(resolve, WORKER_START, null));
    const started = workers.register("isolation.js").then(() => workers.ready);
    const active = await Promise.race([started, late]).catch(() => null);
    if (active) location.reload();
    return active !== null;
}

async function start() {
    applyTheme();
    if (await isolate()) return;
    void loadIcons();
    const page = new Page();
    const main = h("div", { class: "main" });
    const example = document.documentElement.dataset.example ?? null;
    fill(byId("page"), topbar(page), main);
    page.store.watch(["workspace"], () => {
        const { workspace } = page.store.state;
        fill(main, workspace ? work(workspace) : home(page, example));
        document.title = workspace ? `${workspace.clip.name} · masklet` : "masklet";
    });
    listen(page);
    try {
        await page.load(new URLSearchParams(location.search));
    } catch (error) {
        showFailure(main, error);
    }
}

void start();

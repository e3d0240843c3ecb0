/** An open video: its state, masks and images, and the server's events that update them. */

import * as api from "./api.js";
import { deliver, obstacleOf } from "./delivery.js";
import { Events } from "./events.js";
import { FrameCache } from "./frames.js";
import { MaskCache } from "./masks.js";
import { CHOICES, initial, keepChoices, within } from "./state.js";
import { Store } from "./store.js";
import { clearOldOffers, complain, toast } from "./toast.js";
import { sendingChange } from "./unsent.js";

/** @import * as T from "./types.js" */
/** @import { State } from "./state.js" */

const SETTLED = 60; // milliseconds on a frame before the server is told to encode it
const CHANGED_BY = 15_000; // milliseconds for which an object shows who else changed it
const SETTINGS = ["video", "channel"]; // changes that are no steps
const LIVE = 200; // milliseconds between the frames shown while the view follows tracking

export class Studio {
    /**
     * @param {T.About} about
     * @param {T.Video} video
     * @param {T.Project} project
     */
    constructor(about, video, project) {
        this.about = about;
        this.id = video.id;
        this.head = video.head; // the newest step that the page has received
        /** @type {Store<State>} */
        this.store = new Store(initial(video, project));
        this.masks = new MaskCache(
            video.id,
            video.frames,
            () => this.store.set({ masksVersion: this.state.masksVersion + 1 }),
            (error) => obstacleOf(error) ?? complain(error), // a lost connection is shown elsewhere
        );
        this.frames = new FrameCache(
            video.id,
            video.frames,
            video.channel,
            () => this.store.set({ masksVersion: this.state.masksVersion + 1 }),
            (frame, error) => this.store.set({ unreadable: { frame, message: error.message } }),
        );
        /** @type {Promise<unknown>} */
        this.line = Promise.resolve(); // changes are sent one after the other
        /** @type {Map<number, {object: number}>} */
        this.begun = new Map(); // new objects whose first prompt is unanswered, by their expected number
        /** @type {Set<number>} */
        this.saidReviewed = new Set(); // reviewed frames with a message that their masks changed
        this.stepsOfOthers = 0; // steps that others, or other tabs, have made, undone or redone since the page was opened
        this.lastLive = 0;
        this.hasConnected = false;
        /** @type {Promise<void> | null} */
        this.refreshing = null;
        this.again = false;
        /** @type {((message: T.ServerEvent) => void)[]} */
        this.listeners = []; // called with every event
        /** @type {Uint8Array | null} */
        this.copied = null; // the copied mask
        this.copiedHere = false; // whether the window has kept the focus since the copy
        this.copyIsShared = false; // whether the system's clipboard has the mask, too
        /** @type {number | null} */
        this.clickedAt = null; // when the prompt was sent whose answer is painted next
        this.events = new Events(
            video.id,
            (message) => this.#receive(message),
            (online) => void this.#connectionChanged(online),
        );
        this.store.watch(["frame"], () => this.#announceFrame());
        this.store.watch([...CHOICES], () => keepChoices(this.state));
    }

    get state() {
        return this.store.state;
    }

    close() {
        clearOldOffers(null);
        this.events.close();
        clearTimeout(this.settling);
    }

    /** Fetch the video again. Calls during a request are combined into one more request. */
    refresh() {
        if (this.refreshing) this.again = true;
        else this.refreshing = this.#fetchVideo();
        return this.refreshing;
    }

    async #fetchVideo() {
        try {
            do {
                this.again = false;
                this.take(await api.video(this.id));
            } while (this.again);
        } catch (error) {
            complain(error);
        } finally {
            this.refreshing = null;
        }
    }

    async fetchComments() {
        try {
            const { comments } = await api.comments(this.id);
            this.store.set({ comments });
        } catch (error) {
            complain(error);
        }
    }

    /** @param {T.Video} video */
    take(video) {
        const { object } = this.state;
        this.head = video.head;
        clearOldOffers(video.undo_step);
        if (video.channel !== this.frames.channel) this.#showChannel(video.channel);
        const gone =
            object !== null && !video.objects.some((item) => item.id === object) && !this.state.asking;
        this.store.set({
            video,
            propagation: video.propagation,
            pending: this.state.asking ? this.state.pending : [],
            newest: this.state.asking ? this.state.newest : 0,
        });
        if (gone) this.store.set({ object: video.objects.at(-1)?.id ?? null, candidates: null });
    }

    /** @param {number | null} channel */
    #showChannel(channel) {
        this.frames.choose(channel);
        this.store.set({ ready: null, candidates: null, everything: null });
        this.#announceFrame(); // the server encodes the frame again
    }

    /**
     * Send a change after earlier ones.
     *
     * @template Result
     * @param {() => Promise<Result>} change
     * @returns {Promise<Result>}
     */
    inOrder(change) {
        return this.#queue(this.line.then(() => deliver(this, change)));
    }

    /**
     * Send a change after earlier ones, when the page has the video that they changed.
     *
     * @template Result
     * @param {() => Promise<Result>} change
     * @returns {Promise<Result>}
     */
    inOrderRefreshed(change) {
        return this.#queue(this.line.then(() => this.refreshing).then(() => deliver(this, change)));
    }

    /**
     * A reference to an object, whose number may change with the answer to its first prompt.
     *
     * @param {number} object
     * @returns {{object: number}}
     */
    numberOf(object) {
        return this.begun.get(object) ?? { object };
    }

    /**
     * Send a prompt after earlier changes, and show its answer.
     *
     * @template {T.FrameMasks} Result
     * @param {() => Promise<Result>} ask
     * @returns {Promise<Result | null>} null if it failed; the page has shown why
     */
    ask(ask) {
        const sentAt = performance.now();
        this.store.set({ asking: this.state.asking + 1 });
        const turn = this.line.then(async () => {
            try {
                const answer = await deliver(this, ask);
                this.head = answer.head;
                this.clickedAt = sentAt;
                this.masks.put(answer.frame, answer.masks);
                this.#showReviewed(answer.frame);
                return answer;
            } catch (error) {
                complain(error);
                this.masks.restart();
                await this.refresh();
                return null;
            } finally {
                const asking = this.state.asking - 1;
                this.store.set({ asking, pending: asking ? this.state.pending : [] });
                void this.refresh();
            }
        });
        return this.#queue(turn);
    }

    /**
     * Show a message, once for each reviewed frame whose masks change.
     *
     * @param {number} frame
     */
    #showReviewed(frame) {
        if (!within(this.state.video.reviewed, frame) || this.saidReviewed.has(frame)) return;
        this.saidReviewed.add(frame);
        toast(`Frame ${frame} is still marked as reviewed, with its current mask. Press R to remove the mark.`);
    }

    /**
     * Add a change to the end of the queue.
     *
     * @template Result
     * @param {Promise<Result>} turn
     * @returns {Promise<Result>}
     */
    #queue(turn) {
        this.line = turn.catch(() => {}); // the caller handles errors
        return sendingChange(turn);
    }

    /**
     * Show whether the connection was lost because the session ended.
     *
     * @param {boolean} online
     */
    async #connectionChanged(online) {
        this.store.set({ online });
        if (online) return;
        try {
            await api.about();
        } catch (error) {
            if (obstacleOf(error) !== "signed-out" || this.state.signedOut) return;
            this.store.set({ signedOut: true });
            complain(error);
        }
    }

    /** Called after the stage has painted: measures the latency of an answer. */
    painted() {
        if (this.clickedAt === null) return;
        this.store.set({ latency: Math.round(performance.now() - this.clickedAt) });
        this.clickedAt = null;
    }

    /** Tell the server the current frame, after a moment without change. */
    #announceFrame() {
        clearTimeout(this.settling);
        this.settling = setTimeout(
            () => this.events.send({ type: "look", frame: this.state.frame }),
            SETTLED,
        );
    }

    /** @param {T.ServerEvent} message */
    #receive(message) {
        if ("head" in message) this.head = message.head;
        switch (message.type) {
            case "hello":
                this.#connected(message);
                break;
            case "changed":
                if (message.client !== api.CLIENT && !SETTINGS.includes(message.do)) this.stepsOfOthers += 1;
                if (this.#isBeingAnswered(message)) break;
                this.masks.expire(message.frames);
                this.#showOthers(message);
                void this.refresh();
                break;
            case "comments":
                void this.fetchComments();
                break;
            case "masks":
                if (message.client !== api.CLIENT) this.masks.put(message.frame, message.masks);
                break;
            case "frame":
                this.masks.add(message.frame, message.masks);
                this.store.set({ propagation: message.propagation });
                this.#followLive(message.frame);
                break;
            case "propagation":
                this.#propagated(message.propagation);
                break;
            case "export":
                this.store.set({ exports: { ...this.state.exports, [message.export.id]: message.export } });
                break;
            case "people":
                this.store.set({ people: message.people });
                break;
            case "ready":
                this.store.set({ ready: message.frame });
                break;
            case "gone":
                this.close();
                location.hash = `#project/${this.state.project.id}`;
                complain(new Error(`“${this.state.video.name}” was deleted with its masks.`));
                break;
        }
        for (const listener of this.listeners) listener(message);
    }

    /**
     * Whether a change comes from an unanswered prompt of this tab. The answer contains the frame's masks, and
     * fetching them too would delay it.
     *
     * @param {T.ChangedEvent} change
     */
    #isBeingAnswered({ client, frames }) {
        const isOneFrame = frames.length === 1 && frames[0][1] - frames[0][0] === 1;
        return client === api.CLIENT && this.state.asking > 0 && isOneFrame;
    }

    /**
     * Show a message when somebody else changes the selected object: once for clicks and painting, and each time
     * for names, colours and classes. Undo and redo are always shown, because they may affect this user's work.
     *
     * @param {T.ChangedEvent} change
     */
    #showOthers({ person, client, do: what, title, how, objects }) {
        if (client === api.CLIENT) return;
        const isOtherTab = person === this.about.person.name;
        if (how !== "done") {
            toast(`${isOtherTab ? "In another tab you have" : `${person} has`} ${how}: ${title}.`);
            return;
        }
        const { object, changedBy } = this.state;
        const names = Object.fromEntries(objects.map((id) => [id, isOtherTab ? "another tab" : person]));
        const isMine = object !== null && object in names;
        const isNew = isMine && (what === "object" || changedBy[object] !== names[object]);
        this.store.set({ changedBy: { ...changedBy, ...names } });
        if (isMine && what === "remove") toast(`${isOtherTab ? "In another tab you" : person} deleted the object that you selected.`);
        else if (isNew && !isOtherTab) toast(`${person} is changing the object that you selected: ${title}.`);
        clearTimeout(this.forgetting);
        this.forgetting = setTimeout(() => this.store.set({ changedBy: {} }), CHANGED_BY);
    }

    /** @param {T.HelloEvent} hello */
    #connected(hello) {
        this.store.set({ people: hello.people, propagation: hello.propagation, signedOut: false });
        this.#announceFrame();
        void this.fetchComments();
        if (this.hasConnected || hello.head !== this.state.video.head) {
            this.masks.restart();
            this.frames.retry();
            void this.refresh();
        }
        this.hasConnected = true;
    }

    /** @param {T.Propagation | null} propagation */
    #propagated(propagation) {
        this.store.set({ propagation });
        if (!propagation || propagation.state === "running" || propagation.state === "waiting") return;
        this.store.set({ live: false });
        if (propagation.state === "failed" && propagation.message) complain(new Error(propagation.message));
        else if (propagation.message) toast(propagation.message);
        void this.refresh();
    }

    /** @param {number} frame */
    #followLive(frame) {
        const now = performance.now();
        if (!this.state.live || this.state.playing || now - this.lastLive < LIVE) return;
        if (!this.frames.get(this.state.frame)) return; // images load slower than masks: wait for the requested one
        this.lastLive = now;
        this.store.set({ frame });
    }
}

/** Receives the server's events of one video over a WebSocket, and reconnects if the connection is lost. */

const FIRST_WAIT = 400; // milliseconds before reconnecting; doubles with each attempt up to LONGEST_WAIT
const LONGEST_WAIT = 5000;
const CLOSED_GONE = 4004; // the server's close code if the video was deleted

export class Events {
    /**
     * @param {string} video
     * @param {(message: import("./types.js").ServerEvent) => void} received
     * @param {(online: boolean) => void} changed
     */
    constructor(video, received, changed) {
        this.video = video;
        this.received = received;
        this.changed = changed;
        this.wait = FIRST_WAIT;
        this.closed = false;
        this.timer = 0;
        this.socket = this.#open();
    }

    /** @param {object} message */
    send(message) {
        if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
    }

    close() {
        this.closed = true;
        clearTimeout(this.timer);
        this.socket.close();
    }

    /** @returns {WebSocket} */
    #open() {
        const address = new URL(`api/videos/${this.video}/events`, location.href);
        address.protocol = address.protocol.replace("http", "ws");
        address.hash = "";
        const socket = new WebSocket(address);
        socket.onmessage = (event) => {
            if (this.closed) return;
            const message = JSON.parse(event.data);
            if (message.type === "hello") {
                this.wait = FIRST_WAIT;
                this.changed(true);
            }
            this.received(message);
        };
        socket.onclose = ({ code }) => {
            if (this.closed) return;
            if (code === CLOSED_GONE) {
                this.closed = true;
                this.received({ type: "gone" });
                return;
            }
            this.changed(false);
            this.timer = window.setTimeout(() => (this.socket = this.#open()), this.wait);
            this.wait = Math.min(2 * this.wait, LONGEST_WAIT);
        };
        return socket;
    }
}

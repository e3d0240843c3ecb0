// A page that is opened from the disk may start no worker, and the search has one: it gets a hidden frame instead.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      this.ready = new Promise((resolve) => frame.addEventListener("load", () => resolve(frame.contentWindow)));
      frame.srcdoc = "<!doctype html><script>window.postMessage = (data) => window.answer(data)</script>"
        + `<script src="${new URL(url, location.href).href}"></script>`;
      document.body.append(frame);
      this.ready.then((inside) => {
        inside.answer = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      });
    }

    postMessage(data) {
      this.ready.then((inside) => inside.dispatchEvent(new inside.MessageEvent("message", { data })));
    }
  };
}

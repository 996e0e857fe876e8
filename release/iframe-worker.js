// A page that was opened as a file may not start a worker: this runs the worker's script in a hidden frame, in which
// `postMessage` reaches the page. The search of the site is such a worker. Pages from a server keep the browser's own.
"use strict";
(() => {
  if (location.protocol !== "file:") return;

  window.Worker = class extends EventTarget {
    onmessage = null;
    onerror = null;

    constructor(address) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.body.appendChild(this.frame);
      const inside = this.frame.contentWindow;
      const page = inside.document;
      page.open();
      page.write("<!doctype html><body></body>");
      page.close();
      inside.postMessage = (data) => this.#say("message", new MessageEvent("message", { data: structuredClone(data) }));
      inside.addEventListener("error", (event) => this.#say("error", new ErrorEvent("error", { message: event.message })));
      this.ready = new Promise((loaded, failed) => {
        const script = page.createElement("script");
        script.onload = () => loaded(inside);
        script.onerror = () => {
          failed(new Error(`[${address}] cannot be read`));
          this.#say("error", new ErrorEvent("error", { message: `[${address}] cannot be read` }));
        };
        script.src = new URL(address, location.href).href;
        page.body.appendChild(script);
      });
      this.ready.catch(() => {}); // it was said as an error event
    }

    postMessage(data) {
      const copy = structuredClone(data);
      this.ready.then((inside) => inside.dispatchEvent(new inside.MessageEvent("message", { data: copy })), () => {});
    }

    terminate() {
      this.frame.remove();
    }

    #say(kind, event) {
      this.dispatchEvent(event);
      this[`on${kind}`]?.(event);
    }
  };
})();

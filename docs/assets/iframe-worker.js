"use strict";
/* A browser that opens the site from a folder allows no worker there: search then runs in a hidden frame that behaves like one. */
if (location.protocol === "file:") {
  window.IFrameWorker = class extends EventTarget {
    constructor(url) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      this.frame.title = "search";
      this.ready = new Promise(resolve => { this.frame.onload = resolve; });
      /* The worker's script speaks and listens as in a worker; its messages go to the page. */
      this.frame.srcdoc =
        "<script>postMessage = message => parent.dispatchEvent(new MessageEvent('message', { source: window, data: message }));" +
        "importScripts = async (...urls) => { for (const url of urls) await new Promise((done, failed) => document.head.append(" +
        "Object.assign(document.createElement('script'), { src: url, onload: done, onerror: failed }))); };<\/script>" +
        `<script src="${new URL(url, location)}"><\/script>`;
      document.body.append(this.frame);
      window.addEventListener("message", event => {
        if (event.source === this.frame.contentWindow) this.dispatchEvent(new MessageEvent("message", { data: event.data }));
      });
    }
    postMessage(message) {
      this.ready.then(() => this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data: message })));
    }
    terminate() { this.frame.remove(); }
  };
  window.Worker = window.IFrameWorker;
}

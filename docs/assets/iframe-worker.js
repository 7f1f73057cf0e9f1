// Opened from disk, a browser starts no Worker: there the search runs in a hidden frame instead.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.appendChild(frame);
      this.scope = frame.contentWindow;
      const pending = [];
      this.send = (data) => pending.push(data);
      const load = (address) =>
        new Promise((resolve, reject) => {
          const script = this.scope.document.createElement("script");
          script.src = new URL(address, url);
          script.onload = resolve;
          script.onerror = () => reject(new Error(address));
          this.scope.document.head.appendChild(script);
        });
      this.scope.importScripts = (...addresses) => addresses.reduce((done, next) => done.then(() => load(next)), Promise.resolve());
      this.scope.postMessage = (data) => {
        const event = new MessageEvent("message", { data });
        this.dispatchEvent(event);
        if (this.onmessage) this.onmessage(event);
      };
      load(url).then(() => {
        this.send = (data) => this.scope.dispatchEvent(new this.scope.MessageEvent("message", { data }));
        pending.forEach((data) => this.send(data));
      });
    }
    postMessage(data) {
      this.send(data);
    }
    terminate() {
      this.scope.frameElement.remove();
    }
  };
}

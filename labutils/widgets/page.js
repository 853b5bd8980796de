
// ── Start of the widgets in a page without a kernel (page.js; `widget` is the constant of the module above) ──────────
{
  /** The part of anywidget's model that modules use, without a kernel behind it. */
  class PageModel {
    #values;
    #listeners = new Map();
    constructor(values) { this.#values = values; }
    get(name) { return this.#values[name]; }
    set(name, value) {
      if (Object.is(this.#values[name], value)) return;
      this.#values[name] = value;
      for (const listener of [...(this.#listeners.get(`change:${name}`) ?? [])]) listener(this, value);
    }
    save_changes() {}
    send() {}
    on(events, listener) {
      for (const event of events.split(" ")) {
        if (!this.#listeners.has(event)) this.#listeners.set(event, new Set());
        this.#listeners.get(event).add(listener);
      }
    }
    off(events, listener) {
      for (const event of (events ?? "").split(" ")) this.#listeners.get(event)?.delete(listener);
    }
  }

  /** Base64 to a DataView, the form in which anywidget hands out bytes. */
  const bytes = (text) => {
    const raw = atob(text);
    const out = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) out[i] = raw.charCodeAt(i);
    return new DataView(out.buffer);
  };
  const revive = (key, value) => (typeof value?.$bytes === "string" ? bytes(value.$bytes) : value);

  for (const mount of document.querySelectorAll('[data-widget="WIDGET_KIND"]')) {
    const model = new PageModel(JSON.parse(mount.querySelector("script").textContent, revive));
    mount.querySelector("script").remove();
    await widget.initialize?.({ model });
    await widget.render({ model, el: mount });
  }
}

// The terminal as it is seen: xterm.js, and what people do with it besides typing.

import { keepToPolicy } from "./styles.js";
import { FitAddon } from "./addon-fit.mjs";
import { Unicode11Addon } from "./addon-unicode11.mjs";
import { WebLinksAddon } from "./addon-web-links.mjs";
import { Terminal } from "./xterm.mjs";

// Milliseconds after which a window that changes its size has done so.
const SETTLED = 100;

const FONT = 'ui-monospace, "DejaVu Sans Mono", "Noto Sans Mono", Menlo, Consolas, "WenQuanYi Micro Hei Mono", ' +
  '"Noto Sans Mono CJK SC", "Noto Color Emoji", monospace';

const THEME = {
  background: "#11161c",
  foreground: "#e8edf2",
  cursor: "#4fd39b",
  cursorAccent: "#11161c",
  selectionBackground: "#35506b",
};

const SMALLEST = 8;
const LARGEST = 32;

keepToPolicy();

export class Screen {
  // `typed(text)` hears what is typed or pasted, `resized(columns, rows)` of the size, `leave()` when the keyboard is
  // to leave the terminal, `paste(text)` is asked for a promise of whether something may be pasted, `copied(done)` is
  // told of copies.
  constructor(place, { typed, resized, leave, paste, copied }) {
    this.place = place;
    this.asked = paste;
    this.told = copied;
    this.terminal = new Terminal({
      // Widths of characters are chosen through an API of xterm.js that is not settled.
      allowProposedApi: true,
      cursorBlink: !matchMedia("(prefers-reduced-motion: reduce)").matches,
      fontFamily: FONT,
      fontSize: 14,
      scrollback: 5000,
      theme: THEME,
      // What a program calls a link, and what looks like one. The address is shown, and knows nothing of this page.
      linkHandler: { activate: (_, uri) => follow(uri) },
    });
    this.fit = new FitAddon();
    this.terminal.loadAddon(this.fit);
    this.terminal.loadAddon(new Unicode11Addon());
    this.terminal.unicode.activeVersion = "11";
    this.terminal.loadAddon(new WebLinksAddon((_, uri) => follow(uri)));
    this.terminal.open(place);
    this.terminal.onData(typed);
    // Reports of the mouse, as characters: the oldest kind of them is cut off beyond column 95, as in other terminals.
    this.terminal.onBinary(typed);
    this.terminal.onResize(({ cols, rows }) => resized(cols, rows));
    this.terminal.attachCustomKeyEventHandler((event) => this.#key(event, leave));
    place.addEventListener("paste", (event) => this.#pasted(event), { capture: true });
    let timer = 0;
    new ResizeObserver(() => {
      clearTimeout(timer);
      timer = setTimeout(() => this.measure(), SETTLED);
    }).observe(place);
  }

  // Make it as large as its place.
  measure() {
    if (this.place.clientWidth > 0) {
      this.fit.fit();
    }
  }

  get size() {
    return [this.terminal.cols, this.terminal.rows];
  }

  write(text, shown) {
    this.terminal.write(text, shown);
  }

  // A line of the page's own.
  note(text) {
    this.terminal.write(`\r\n\x1b[0;7m ${text} \x1b[0m\r\n`);
  }

  reset() {
    this.terminal.reset();
  }

  focus() {
    this.terminal.focus();
  }

  label(text) {
    this.terminal.textarea.setAttribute("aria-label", text);
  }

  zoom(by) {
    const size = Math.min(LARGEST, Math.max(SMALLEST, this.terminal.options.fontSize + by));
    this.terminal.options.fontSize = size;
    this.measure();
  }

  // For screen readers: what is printed is read out.
  set reader(on) {
    this.terminal.options.screenReaderMode = on;
  }

  async copy() {
    const text = this.terminal.getSelection();
    if (!text) {
      return;
    }
    let done;
    try {
      await navigator.clipboard.writeText(text);
      done = true;
    } catch {
      // Without TLS there is no clipboard but this one: xterm.js puts its selection into what is copied.
      done = document.execCommand("copy");
    }
    this.told(done);
  }

  // Whether xterm.js may have the key.
  #key(event, leave) {
    if (event.type !== "keydown") {
      return true;
    }
    const key = event.key.toLowerCase();
    if (event.ctrlKey && !event.altKey && key === "f6") {
      event.preventDefault();
      leave();
      return false;
    }
    if (event.ctrlKey && event.shiftKey && key === "c") {
      event.preventDefault();
      this.copy();
      return false;
    }
    // The browser pastes by itself.
    return !(event.ctrlKey && event.shiftKey && key === "v");
  }

  async #pasted(event) {
    event.preventDefault();
    event.stopPropagation();
    const text = event.clipboardData.getData("text/plain");
    if (text && (!/[\r\n]/.test(text) || (await this.asked(text)))) {
      this.terminal.paste(text);
    }
    this.focus();
  }
}

function follow(uri) {
  if (/^https?:\/\//i.test(uri)) {
    window.open(uri, "_blank", "noopener,noreferrer");
  }
}

// One terminal, by one WebSocket after the other: when a connection breaks, the session behind it waits, and the page
// comes back to it.
//
//   opening ──> open ──the connection breaks──> waiting ──> open
//      │         └──the session ends──> closed <──it is too late───┘
//      └──it is refused───────────────> closed

import { Problem, address, ask, ticket } from "./api.js";

const PROTOCOL = "ksproxyd.json";

// After these the user has to say so if they want another session; "press Enter" would be pressed too easily.
const FINAL = new Set([1000, 4401, 4403, 4404, 4409, 4410]);

// The connection was cut, not the session: nobody has said goodbye, or somebody in between has.
const CUT = new Set([1006, 1012, 1014]);

// Milliseconds: for so long a page tries to come back, with so long between.
const PATIENCE = 25000;
const DELAYS = [250, 500, 1000, 2000, 3000];

// Characters that may wait to be shown: above the first the gateway is told to stop, below the second to go on.
const HIGH = 512 * 1024;
const LOW = 128 * 1024;
// A window that nobody sees is shown something new once a minute; it has to be less behind, or it would count as dead.
const LOW_UNSEEN = 448 * 1024;

// Longest piece of input in one message, in UTF-16 code units; a message may have a mebibyte.
const PIECE = 16 * 1024;

// The end of a terminal. `again`: whether Enter may open it again.
export class Ending {
  constructor(code, reason, message = "") {
    this.code = code;
    this.reason = reason;
    this.message = message;
    this.again = !FINAL.has(code);
  }
}

export class Connection {
  // `path` is that of the terminal; `screen` shows it; `tell(state, detail)` hears what becomes of it.
  constructor(path, screen, tell, kept = "") {
    this.path = path;
    this.screen = screen;
    this.tell = tell;
    this.state = "closed";
    // How to come back to the session; a secret.
    this.credential = kept;
    this.socket = null;
    this.pending = 0;
    this.stopped = false;
    this.cutAt = 0;
    this.attempts = 0;
    this.timer = 0;
    // Counts connections, so that what is late is not taken for what is current.
    this.turn = 0;
  }

  // Begin, or begin again.
  open() {
    this.cutAt = 0;
    this.attempts = 0;
    this.#change("opening");
    this.#connect();
  }

  // The user goes elsewhere: the session ends.
  leave() {
    this.turn += 1;
    clearTimeout(this.timer);
    this.socket?.close(1000, "left");
    this.socket = null;
    this.credential = "";
    this.#change("closed", null);
  }

  // Type something.
  type(text) {
    for (let at = 0; at < text.length; ) {
      let end = Math.min(at + PIECE, text.length);
      // No character is torn in two.
      if (end < text.length && (text.charCodeAt(end - 1) & 0xfc00) === 0xd800) {
        end -= 1;
      }
      this.#send({ Op: "stdin", Data: text.slice(at, end) });
      at = end;
    }
  }

  // The window has this size.
  resize(columns, rows) {
    this.#send({ Op: "resize", Cols: columns, Rows: rows });
  }

  get isOpen() {
    return this.state === "open";
  }

  async #connect() {
    this.turn += 1;
    const turn = this.turn;
    let given;
    try {
      given = await ticket(this.path);
    } catch (problem) {
      if (turn === this.turn) {
        this.#refused(problem);
      }
      return;
    }
    if (turn !== this.turn) {
      return;
    }
    const offered = [PROTOCOL, `ksproxyd.ticket.${given}`];
    if (this.credential) {
      offered.push(`ksproxyd.resume.${this.credential}`);
    }
    const url = address(this.path);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(url, offered);
    this.socket = socket;
    let upgraded = false;
    socket.onopen = () => {
      upgraded = true;
      this.pending = 0;
      this.stopped = false;
      this.#change("open", { back: this.cutAt !== 0 });
      this.resize(...this.screen.size);
    };
    socket.onmessage = (event) => {
      if (turn === this.turn) {
        this.#message(event.data);
      }
    };
    socket.onclose = (event) => {
      if (turn !== this.turn) {
        return;
      }
      this.socket = null;
      if (upgraded) {
        this.#closed(event.code, event.reason);
      } else {
        this.#examine(turn);
      }
    };
  }

  #message(text) {
    const message = JSON.parse(text);
    if (message.Op === "session") {
      const id = message.Data.split(".")[0];
      if (this.credential && this.credential.split(".")[0] !== id) {
        this.tell("new", null);
      }
      this.credential = message.Data;
      this.tell("session", this.credential);
    } else if (message.Data) {
      const size = message.Data.length;
      const turn = this.turn;
      this.pending += size;
      this.screen.write(message.Data, () => {
        if (turn === this.turn) {
          this.pending -= size;
          this.#pace();
        }
      });
      this.#pace();
    }
    if (this.cutAt) {
      this.cutAt = 0;
      this.attempts = 0;
    }
  }

  // The gateway sends no more than can be shown.
  #pace() {
    if (!this.stopped && this.pending > HIGH) {
      this.stopped = true;
      this.#send({ Op: "pause" });
    } else if (this.stopped && this.pending < (document.hidden ? LOW_UNSEEN : LOW)) {
      this.stopped = false;
      this.#send({ Op: "resume" });
    }
  }

  #closed(code, reason) {
    if (CUT.has(code) && this.credential) {
      this.#wait();
      return;
    }
    if (!CUT.has(code)) {
      this.credential = "";
    }
    this.#change("closed", new Ending(code, reason));
  }

  // Come back in a moment, if it is not too late.
  #wait() {
    const now = performance.now();
    this.cutAt ||= now;
    if (now - this.cutAt > PATIENCE) {
      this.#change("closed", new Ending(1006, ""));
      return;
    }
    this.#change("waiting");
    const delay = DELAYS[Math.min(this.attempts, DELAYS.length - 1)];
    this.attempts += 1;
    this.timer = setTimeout(() => this.#connect(), delay);
  }

  // A page is not told why a WebSocket was refused; a plain request for the same is answered.
  async #examine(turn) {
    let found = new Problem(0, "");
    try {
      await ask(this.path);
    } catch (problem) {
      found = problem;
    }
    if (turn === this.turn) {
      this.#refused(found);
    }
  }

  #refused(problem) {
    const { status } = problem;
    if (this.cutAt && (status === 0 || status >= 500 || status === 400 || status === 429)) {
      this.#wait();
      return;
    }
    const code = status === 401 ? 4401 : status === 403 ? 4403 : status === 404 ? 4404 : 1006;
    this.#change("closed", new Ending(code, "", problem));
  }

  #change(state, detail = null) {
    this.state = state;
    this.tell(state, detail);
  }

  #send(message) {
    if (this.socket?.readyState === WebSocket.OPEN) {
      this.socket.send(JSON.stringify(message));
    }
  }
}

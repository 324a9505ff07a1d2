// The page: a form to choose a place, a terminal there, and what becomes of it.

import { Problem, signIn, user, whoAmI } from "./api.js";
import { Connection } from "./connection.js";
import { mayPaste } from "./dialogs.js";
import { Download, Upload } from "./files.js";
import { Form, nameOf, pathOf, placeOf, searchOf } from "./places.js";
import { Screen } from "./screen.js";
import { fillPage, knows, language, say } from "./words.js";

// How this window comes back to its session after it was loaded again. Kept until the window is closed.
const KEPT = "ksproxyd-terminal-session";

const $ = (id) => document.getElementById(id);

class Page {
  constructor() {
    fillPage();
    this.connection = null;
    this.place = null;
    this.ending = null;
    this.form = new Form($("place"), (place) => this.open(place));
    this.upload = new Upload($("upload-dialog"));
    this.download = new Download($("download-dialog"));
    this.screen = new Screen($("screen"), {
      typed: (text) => this.typed(text),
      resized: (columns, rows) => this.connection?.resize(columns, rows),
      leave: () => $("other").focus(),
      paste: (text) => mayPaste($("paste-dialog"), text),
      copied: (done) => this.toast(say(done ? "copied" : "not_copied")),
    });
    $("other").addEventListener("click", () => this.choose());
    $("again").addEventListener("click", () => this.again());
    $("sign-in").addEventListener("click", signIn);
    $("upload").addEventListener("click", () => this.upload.open(this.place));
    $("download").addEventListener("click", () => this.download.open(this.place));
    $("larger").addEventListener("click", () => this.screen.zoom(1));
    $("smaller").addEventListener("click", () => this.screen.zoom(-1));
    $("reader").addEventListener("click", () => this.reader());
    $("skip").addEventListener("click", (event) => {
      event.preventDefault();
      this.screen.focus();
    });
    window.addEventListener("popstate", () => this.go(placeOf(location.search)));
    this.languageLink();
  }

  async begin() {
    try {
      await whoAmI();
    } catch (problem) {
      if (problem.status === 401) {
        signIn();
      } else {
        this.failed(problem);
      }
      return;
    }
    $("user").textContent = say("signed_in_as", { user: user.name });
    this.go(placeOf(location.search));
  }

  // What the address says.
  go(place) {
    this.connection?.leave();
    if (place) {
      this.form.place = place;
      this.start(place);
    } else {
      this.choose(false);
    }
  }

  open(place) {
    history.pushState(null, "", location.pathname + searchOf(place, location.search));
    this.languageLink();
    this.start(place);
  }

  start(place) {
    const path = pathOf(place);
    this.place = place;
    $("choice").hidden = true;
    $("screen").hidden = false;
    $("other").hidden = false;
    this.screen.reset();
    this.screen.measure();
    this.screen.label(say("screen", { where: nameOf(place) }));
    this.connection = new Connection(path, this.screen, (state, detail) => this.heard(state, detail), kept(path));
    this.connection.open();
    this.screen.focus();
  }

  // The form again.
  choose(push = true) {
    this.connection?.leave();
    this.connection = null;
    forget();
    this.place = null;
    if (push) {
      history.pushState(null, "", location.pathname + searchOf(null, location.search));
      this.languageLink();
    }
    this.ended(null);
    this.tools(false);
    $("state").textContent = "";
    $("screen").hidden = true;
    $("other").hidden = true;
    $("choice").hidden = false;
    $("namespace").focus();
  }

  again() {
    this.ended(null);
    this.screen.reset();
    this.connection.open();
    this.screen.focus();
  }

  typed(text) {
    if (this.connection?.isOpen) {
      this.connection.type(text);
    } else if (this.ending?.again && text === "\r") {
      this.again();
    }
  }

  heard(state, detail) {
    if (state === "session") {
      sessionStorage.setItem(KEPT, JSON.stringify({ path: this.connection.path, credential: detail }));
      return;
    }
    if (state === "new") {
      this.screen.reset();
      this.screen.note(say("new_session"));
      return;
    }
    document.body.dataset.state = state;
    $("state").textContent = say(`state_${state}`, { where: nameOf(this.place) });
    this.tools(state === "open");
    if (state === "open") {
      this.ended(null);
      if (detail.back) {
        this.toast(say("came_back"));
      }
    } else if (state === "closed" && detail) {
      forget();
      this.ended(detail);
    }
  }

  // Say why it is over; null: it is not.
  ended(ending) {
    this.ending = ending;
    $("ended").hidden = ending === null;
    if (ending === null) {
      return;
    }
    const why = whyOf(ending);
    $("why").textContent = ending.again ? `${why} (${say("press_enter")})` : why;
    $("ended").className = ending.code === 1000 ? "" : "bad";
    $("sign-in").hidden = ending.code !== 4401;
    $("again").hidden = ending.code === 4401;
    if (ending.again) {
      this.screen.note(say("press_enter"));
    } else {
      ($("again").hidden ? $("sign-in") : $("again")).focus();
    }
  }

  tools(open) {
    for (const id of ["upload", "download"]) {
      $(id).disabled = !open || this.place?.kind !== "pod";
      $(id).title = $(id).disabled ? say("needs_pod") : "";
    }
  }

  reader() {
    const on = $("reader").getAttribute("aria-pressed") !== "true";
    $("reader").setAttribute("aria-pressed", String(on));
    this.screen.reader = on;
  }

  languageLink() {
    const query = new URLSearchParams(location.search);
    query.set("lang", language === "zh" ? "en" : "zh");
    $("language").textContent = say("language_other");
    $("language").lang = language === "zh" ? "en" : "zh-CN";
    $("language").href = `?${query}`;
  }

  toast(text) {
    $("toast").textContent = text;
    $("toast").hidden = false;
    clearTimeout(this.toasting);
    this.toasting = setTimeout(() => {
      $("toast").hidden = true;
    }, 3000);
  }

  failed(problem) {
    $("ended").hidden = false;
    $("ended").className = "bad";
    $("again").hidden = true;
    $("why").textContent = say("failed", { message: problem.message });
  }
}

function whyOf(ending) {
  if (ending.message instanceof Problem) {
    const { status, message } = ending.message;
    if (status === 0) {
      return say("not_opened", { message: say("not_opened_network") });
    }
    return say("not_opened", { message: status === 400 ? say("not_opened_busy") : message });
  }
  const key = `why_${ending.code}`;
  return say(knows(key) ? key : "why_other", { code: ending.code, reason: ending.reason });
}

// What came of a window that was loaded again: how it gets back to its session at `path`.
function kept(path) {
  try {
    const found = JSON.parse(sessionStorage.getItem(KEPT));
    return found?.path === path ? found.credential : "";
  } catch {
    return "";
  }
}

function forget() {
  sessionStorage.removeItem(KEPT);
}

new Page().begin();

// Files into a container and out of it, with what has been copied so far.

import { Problem, address, ask, authorization, messageOf } from "./api.js";
import { filePath, nameOf } from "./places.js";
import { bytes, say } from "./words.js";

// The window for one direction. It stays open while files are copied; closing it stops that.
class Transfer {
  constructor(dialog, title) {
    this.dialog = dialog;
    this.title = title;
    this.form = dialog.querySelector("form");
    this.bar = dialog.querySelector("progress");
    this.text = dialog.querySelector("output");
    this.stop = null;
    this.place = null;
    this.form.addEventListener("submit", (event) => this.#submitted(event));
    dialog.addEventListener("close", () => this.stop?.());
  }

  open(place) {
    this.place = place;
    this.dialog.querySelector("h2").textContent = say(this.title, { where: nameOf(place) });
    this.say("");
    this.bar.hidden = true;
    this.dialog.showModal();
  }

  say(text) {
    this.text.textContent = text;
  }

  // `all` is 0 where nobody knows it.
  progress(done, all) {
    this.bar.hidden = false;
    if (all) {
      this.bar.max = all;
      this.bar.value = done;
    } else {
      this.bar.removeAttribute("value");
    }
    this.say(say(all ? "progress" : "progress_open", { done: bytes(done), all: bytes(all) }));
  }

  async #submitted(event) {
    if (event.submitter?.value === "close") {
      return;
    }
    event.preventDefault();
    const button = this.form.querySelector("button[value=start]");
    button.disabled = true;
    try {
      this.say(await this.copy());
    } catch (problem) {
      this.say(problem.name === "AbortError" ? say("stopped") : say("transfer_failed", { message: problem.message }));
    } finally {
      this.stop = null;
      this.bar.hidden = true;
      button.disabled = false;
    }
  }
}

export class Upload extends Transfer {
  constructor(dialog) {
    super(dialog, "upload_title");
  }

  async copy() {
    const { files, folder } = this.form.elements;
    if (files.files.length === 0) {
      throw new Error(say("no_files"));
    }
    const path = absolute(folder.value);
    const body = new FormData();
    for (const file of files.files) {
      body.append(file.name, file);
    }
    const text = await this.#send(filePath(this.place, { path }), body);
    const names = JSON.parse(text).files.map((file) => file.name);
    return say("done_upload", { names: names.join(", ") });
  }

  // By XMLHttpRequest: fetch() does not tell how much has been sent.
  async #send(path, body) {
    const token = await authorization();
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.open("POST", address(path));
      request.setRequestHeader("Authorization", token);
      request.setRequestHeader("Accept", "application/json");
      request.upload.onprogress = (event) => this.progress(event.loaded, event.total);
      request.onload = () => {
        if (request.status === 200) {
          resolve(request.responseText);
        } else {
          reject(new Problem(request.status, messageOf(request.status, request.responseText)));
        }
      };
      request.onerror = () => reject(new Problem(0, say("broke")));
      request.onabort = () => reject(new DOMException("", "AbortError"));
      this.stop = () => request.abort();
      request.send(body);
    });
  }
}

export class Download extends Transfer {
  constructor(dialog) {
    super(dialog, "download_title");
  }

  async copy() {
    const path = absolute(this.form.elements.path.value);
    const archive = this.form.elements.archive.checked;
    const name = `${path.split("/").filter(Boolean).pop() ?? "root"}${archive ? ".tar" : ""}`;
    // Browsers let a page choose a file only right after a click.
    const file = await chosen(name);
    const cancel = new AbortController();
    this.stop = () => cancel.abort();
    const more = archive ? { path } : { path, format: "raw" };
    const answer = await ask(filePath(this.place, more), { signal: cancel.signal, headers: { Accept: "*/*" } });
    const all = Number(answer.headers.get("Content-Length") ?? 0);
    const sink = file === null ? new Kept(name) : await file.createWritable();
    let done = 0;
    try {
      const reader = answer.body.getReader();
      for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
        await sink.write(piece.value);
        done += piece.value.length;
        this.progress(done, all);
      }
    } catch (problem) {
      await sink.abort();
      throw problem.name === "AbortError" ? problem : new Problem(0, say("broke"));
    }
    await sink.close();
    return say("done_download", { name, size: bytes(done) });
  }
}

// Where to put a file, if the browser asks; null if it puts it where downloads go.
async function chosen(name) {
  return "showSaveFilePicker" in window ? window.showSaveFilePicker({ suggestedName: name }) : null;
}

// A file in the browser's keeping until it is complete. Pieces become blobs, which need not stay in memory.
class Kept {
  constructor(name) {
    this.name = name;
    this.parts = [];
  }

  async write(piece) {
    this.parts.push(new Blob([piece]));
    if (this.parts.length >= 256) {
      this.parts = [new Blob(this.parts)];
    }
  }

  async abort() {
    this.parts = [];
  }

  async close() {
    const url = URL.createObjectURL(new Blob(this.parts));
    const link = document.createElement("a");
    link.href = url;
    link.download = this.name;
    link.click();
    this.parts = [];
    setTimeout(() => URL.revokeObjectURL(url), 60000);
  }
}

function absolute(text) {
  const path = text.trim();
  if (!path.startsWith("/")) {
    throw new Error(say("absolute"));
  }
  return path;
}

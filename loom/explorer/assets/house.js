/* The page "State of the house": follows the journal until one pauses it. Without this script the page is as it was read. */
"use strict";
(() => {
  const list = document.getElementById("entries"), button = document.getElementById("follow");
  const hint = document.getElementById("tail-hint"), most = Number(list.dataset.most);
  let stream = null, last = Number(list.querySelector(".number")?.textContent || 0);

  function part(tag, name, text) {
    const made = document.createElement(tag);
    if (name) made.className = name;
    made.textContent = text;
    return made;
  }

  function add(entry) {
    if (entry.position <= last) return;
    last = entry.position;
    const line = document.createElement("li");
    const time = part("time", "", entry.at.slice(0, 19).replace("T", " ") + " UTC");
    time.dateTime = entry.at;
    line.append(part("span", "number", entry.position), part("span", "what", entry.text), part("span", "where", entry.journal), time);
    list.querySelector(".none")?.remove();
    list.prepend(line);
    while (list.children.length > most) list.lastElementChild.remove();
  }

  function follow() {
    stream = new EventSource(`${list.dataset.from}?after=${last}`);
    stream.addEventListener("entry", (event) => add(JSON.parse(event.data)));
    stream.addEventListener("open", () => { hint.textContent = "The last entries of the journal, the newest first, as they are written."; });
    stream.addEventListener("error", () => { hint.textContent = "The connection is cut; it is tried again."; });
    button.textContent = "Pause";
  }

  function pause() {
    stream.close();
    stream = null;
    button.textContent = "Follow";
    hint.textContent = "Paused. The last entries of the journal, the newest first.";
  }

  button.hidden = false;
  button.addEventListener("click", () => (stream ? pause() : follow()));
  window.addEventListener("pagehide", () => stream && pause());
  follow();
})();

// What keeps a person from using a page: names, landmarks, headings, contrast, size, order. Returns findings as text.
() => {
  const found = [];
  const say = (kind, each) => found.push(`${kind}: ${each.outerHTML.slice(0, 120)}`);
  const shown = (each) => each.checkVisibility({ opacityProperty: true, visibilityProperty: true });
  const all = (what) => [...document.querySelectorAll(what)].filter(shown);
  const text = (each) => (each.textContent || "").trim();
  const name = (each) => {
    const by = each.getAttribute("aria-labelledby");
    if (by) return by.split(/\s+/).map((id) => text(document.getElementById(id) || {})).join(" ").trim();
    const label = each.getAttribute("aria-label") || [...(each.labels || [])].map(text).join(" ").trim();
    return label || (each.matches("a, button, summary") ? text(each) : "") || each.getAttribute("title") || "";
  };

  // the page as a whole
  if (!document.documentElement.lang) found.push("no language");
  if (!document.title.trim()) found.push("no title");
  if (/user-scalable\s*=\s*no|maximum-scale/.test(document.querySelector("meta[name=viewport]")?.content || "")) found.push("no zoom");
  for (const [what, count] of [["h1", 1], ["main", 1]]) if (all(what).length !== count) found.push(`${all(what).length} of ${what}`);
  for (const each of all("nav")) if (!name(each)) say("a navigation without a name", each);
  for (const each of document.body.children) {
    if (!each.matches("header, nav, main, footer, aside, a.skip, script, template, dialog, [aria-live]") && shown(each)) say("outside of all landmarks", each);
  }
  let level = 0;
  for (const each of all("h1, h2, h3, h4, h5, h6")) {
    const next = Number(each.tagName[1]);
    if (next > level + 1) say("a heading skips a level", each);
    if (!text(each)) say("an empty heading", each);
    level = next;
  }
  const ids = new Map();
  for (const each of document.querySelectorAll("[id]")) ids.set(each.id, (ids.get(each.id) || 0) + 1);
  for (const [id, count] of ids) if (count > 1) found.push(`an id ${count} times: ${id}`);
  for (const each of document.querySelectorAll("[aria-describedby], [aria-labelledby], [aria-controls], label[for]")) {
    const named = [each.getAttribute("aria-describedby"), each.getAttribute("aria-labelledby"), each.getAttribute("aria-controls"), each.htmlFor];
    for (const id of named.filter(Boolean).join(" ").split(/\s+/)) if (id && !ids.has(id)) say(`refers to nothing [${id}]`, each);
  }

  // what one acts on
  const acting = "a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex]";
  for (const each of all(acting)) {
    if (!name(each) && !(each.matches("[tabindex]") && each.matches("[role]") === false && text(each))) say("no name", each);
    if (each.tabIndex > 0) say("an order of its own", each);
    const box = each.getBoundingClientRect();
    const inline = each.matches("a") && getComputedStyle(each).display === "inline";
    if (!inline && !each.matches(".skip, [type=checkbox], [type=radio]") && (box.height < 24 || box.width < 24)) say("smaller than 24 px", each);
    if (each.matches("input:not([type=checkbox], [type=radio], [type=range]), textarea, select") && parseFloat(getComputedStyle(each).fontSize) < 16) say("a phone would zoom in", each);
  }
  for (const each of all("img")) if (!each.hasAttribute("alt")) say("an image without words", each);
  for (const each of all("svg")) {
    if (each.closest("[aria-hidden=true]") || each.parentElement.closest("svg")) continue;
    if (each.getAttribute("role") !== "img" || !(name(each) || text(each.querySelector("title") || {}))) say("a drawing without words", each);
  }
  for (const each of all("table")) if (!each.querySelector("th")) say("a table without headings", each);
  for (const each of all("ul, ol")) for (const inner of each.children) if (!inner.matches("li, template, script")) say("in a list, and no item", inner);
  for (const each of all("[onclick], [style]")) say("a handler or a style in the page", each);

  // contrast, as WCAG 2 has it: 4.5, and 3 for large text
  const parse = (colour) => {
    const parts = colour.match(/[\d.]+/g).map(Number);
    const scale = colour.startsWith("color(") ? 255 : 1;
    return [parts[0] * scale, parts[1] * scale, parts[2] * scale, parts[3] === undefined ? 1 : parts[3]];
  };
  const over = (top, under) => top.slice(0, 3).map((each, at) => each * top[3] + under[at] * (1 - top[3])).concat(1);
  const ground = (each) => {
    const layers = [];
    for (let one = each; one; one = one.parentElement) {
      const colour = parse(getComputedStyle(one).backgroundColor);
      layers.push(colour);
      if (colour[3] === 1) break;
    }
    const canvas = matchMedia("(prefers-color-scheme: dark)").matches ? [18, 18, 18, 1] : [255, 255, 255, 1];
    return layers.reverse().reduce((under, top) => over(top, under), canvas);
  };
  const light = (colour) => {
    const [r, g, b] = colour.slice(0, 3).map((each) => (each / 255 <= 0.03928 ? each / 255 / 12.92 : ((each / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const done = new Set();
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const each = node.parentElement;
    if (!node.data.trim() || done.has(each) || !shown(each) || each.closest("script, style, option, .skip")) continue;
    done.add(each);
    const style = getComputedStyle(each);
    const under = ground(each);
    const colour = over(parse(each.closest("svg") && each.tagName !== "svg" ? style.fill : style.color), under);
    const [a, b] = [light(colour), light(under)].sort((x, y) => y - x);
    const size = parseFloat(style.fontSize);
    const needed = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < needed) say(`contrast ${ratio.toFixed(2)}`, each);
  }
  if (document.documentElement.scrollWidth > window.innerWidth) found.push("the page scrolls sideways");
  return found;
}

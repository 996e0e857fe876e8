/* The page "What if": a slider and its number are one value. Without this script the page works without sliders. */
"use strict";
document.addEventListener("input", (event) => {
  const slider = event.target.closest("input[data-for]");
  if (slider) {
    const number = document.getElementById(slider.dataset.for);
    number.value = slider.value;
    number.dispatchEvent(new Event("input", { bubbles: true }));
    return;
  }
  for (const twin of document.querySelectorAll("input[data-for]")) {
    if (twin.dataset.for === event.target.id && twin.value !== event.target.value) twin.value = event.target.value;
  }
});

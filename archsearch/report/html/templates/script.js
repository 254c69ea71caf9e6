"use strict";
(() => {
  const charts = [...document.querySelectorAll(".chart")].filter((chart) => chart.querySelector(".mark"));
  const keyed = (key) => [...document.querySelectorAll("[data-k]")].filter((it) => it.dataset.k === key);

  function hide() {
    for (const tip of document.querySelectorAll(".tip")) tip.hidden = true;
    for (const it of document.querySelectorAll(".on")) it.classList.remove("on");
  }

  function place(tip, chart, mark) {
    const box = chart.getBoundingClientRect(), at = mark.getBoundingClientRect();
    const x = at.left + at.width / 2 - box.left, y = at.top + at.height / 2 - box.top;
    const left = x + 16 + tip.offsetWidth <= box.width ? x + 16 : x - 16 - tip.offsetWidth;
    const fits = left >= 0 && left + tip.offsetWidth <= box.width;
    const middle = Math.max(0, Math.min(x - tip.offsetWidth / 2, box.width - tip.offsetWidth));
    const above = y - 18 - tip.offsetHeight, beside = y - tip.offsetHeight / 2;
    const top = fits ? beside : above >= 0 ? above : y + 18;
    tip.style.left = `${fits ? left : middle}px`;
    tip.style.top = `${Math.max(0, Math.min(top, box.height - tip.offsetHeight))}px`;
  }

  function show(chart, mark) {
    hide();
    const tip = chart.querySelector(".tip");
    tip.replaceChildren(...[...mark.querySelectorAll("i")].map((line) => line.cloneNode(true)));
    tip.hidden = false;
    place(tip, chart, mark);
    for (const it of keyed(mark.dataset.k)) it.classList.add("on");
  }

  function step(marks, mark, by) {
    const next = marks[marks.indexOf(mark) + by];
    if (next) next.focus();
  }

  for (const chart of charts) {
    const marks = [...chart.querySelectorAll("button.mark")];
    for (const mark of marks) {
      for (const event of ["pointerenter", "focus", "click"]) mark.addEventListener(event, () => show(chart, mark));
      mark.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") hide(); });
      mark.addEventListener("blur", hide);
      mark.addEventListener("keydown", (event) => {
        const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
        if (by) { event.preventDefault(); step(marks, mark, by); }
        if (event.key === "Escape") hide();
      });
    }
    for (const line of chart.querySelectorAll("polyline")) {
      line.addEventListener("pointerenter", () => show(chart, marks.find((mark) => mark.dataset.k === line.dataset.k)));
      line.addEventListener("pointerleave", hide);
    }
  }
  document.addEventListener("pointerdown", (event) => { if (!event.target.closest(".mark, polyline")) hide(); });
})();

"use strict";
// Moves the short run to the moment that the slider says. All words are made beforehand; here they are put in place.
(() => {
  const player = document.getElementById("player");
  if (!player) return;
  const frames = JSON.parse(player.dataset.frames);
  const labels = JSON.parse(player.dataset.labels);
  const one = (selector) => player.querySelector(selector);
  const [slider, play, reel, marker] = ["#slider", "#play", "#reel", "line.marker"].map(one);
  const watched = [...player.querySelectorAll(".watched li")];
  let timer = 0;

  const show = (place) => {
    const frame = frames[place];
    slider.value = place;
    slider.setAttribute("aria-valuetext", `${frame.moment}: ${frame.told}`);
    one("#moment").textContent = frame.moment;
    one("#told").textContent = frame.told;
    reel?.style.setProperty("--y", place);
    marker?.setAttribute("x1", frame.x);
    marker?.setAttribute("x2", frame.x);
    watched.forEach((item, at) => {
      const answer = frame.classes[at];
      item.classList.toggle("right", answer === Number(item.dataset.label));
      item.querySelector(".said").textContent = labels[answer];
      item.querySelector(".full").style.width = `${frame.shares[at]}%`;
      item.querySelector(".value").textContent = frame.says[at];
    });
  };

  const stop = () => {
    clearInterval(timer);
    timer = 0;
    play.textContent = "Play";
  };

  slider.addEventListener("input", () => {
    stop();
    show(Number(slider.value));
  });
  play.addEventListener("click", () => {
    if (timer) return stop();
    if (Number(slider.value) === frames.length - 1) show(0);
    // Who asked for less motion gets fewer and slower changes.
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    play.textContent = "Pause";
    timer = setInterval(() => {
      const next = Math.min(Number(slider.value) + (calm ? 6 : 1), frames.length - 1);
      show(next);
      if (next === frames.length - 1) stop();
    }, calm ? 1500 : 160);
  });
  // Paper cannot be moved: it gets the end of the run.
  addEventListener("beforeprint", () => show(frames.length - 1));
  one(".controls").hidden = false;
  show(0);
})();

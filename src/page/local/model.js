
/* The answers of the model that is in this page: nothing leaves it. */

const NO_ANSWER = { message: "This browser cannot compute the network.", tip: "try a current one" };
/** How far a logit may be from what the model file says, in shares of the largest. */
const TOLERANCE = 1e-4;
let network = null, took = 0;

async function readModel() {
  const text = (id) => $(id).textContent;
  const found = JSON.parse(text("manifest"));
  network = modelOf(JSON.parse(text("network")), text("weights"), found.preprocess);
  const { agree, largest } = replay(found.golden), { length } = found.golden;
  $("replay").textContent = length === 0 ? "The model has no golden samples, so nothing was replayed."
    : `Checked on loading: ${agree} of ${length} golden samples, images with the answers that the model gave when it was exported, ` +
      `are answered alike; the largest difference of a logit is ${largest.toExponential(1)} of the largest, and ${TOLERANCE} is allowed.`;
  if (agree < length) {
    return { error: { message: `Only ${agree} of ${length} golden samples are answered as at export.`, tip: "try another browser" } };
  }
  return { model: found };
}

/** How many golden samples are answered as at export, and the largest difference of a logit. */
function replay(golden) {
  let [agree, largest] = [0, 0];
  for (const { pixels, logits } of golden) {
    const found = network(Uint8Array.from(pixels.match(/../g), (byte) => parseInt(byte, 16)));
    const scale = Math.max(1, ...logits.map(Math.abs));
    const difference = Math.max(...logits.map((logit, i) => Math.abs(logit - found[i]) / scale));
    // Of a NaN, too, this is false.
    if (difference <= TOLERANCE && best(logits) === best(found)) agree += 1;
    largest = Math.max(largest, difference);
  }
  return { agree, largest };
}

const best = (logits) => logits.reduce((first, logit, i) => (logit > logits[first] ? i : first), 0);

async function answer() {
  // Drawing goes on while the network computes, for as long again.
  await new Promise((done) => setTimeout(done, took));
  if (isEmpty()) return {};
  const begun = performance.now(), { channels, height, width, fit } = model.preprocess;
  const source = board.picture ?? drawing();
  if (source.width * source.height > MOST_PIXELS) {
    return { error: { message: `A picture may have at most ${MOST_PIXELS / 1e6} million pixels, this one has ${source.width} x ${source.height}.` } };
  }
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [source.width, source.height];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(source, 0, 0);
  const picture = flatten(context.getImageData(0, 0, canvas.width, canvas.height));
  let input;
  if (fit.kind === "digit") {
    const plane = fitDigit(picture, height, width, fit.box_size);
    if (!plane) return { error: BLANK };
    input = new Uint8Array(channels * plane.length);
    for (let c = 0; c < channels; c++) input.set(plane, c * plane.length);
  } else {
    input = planes(resize(picture, width, height), channels);
  }
  const prediction = predict(input);
  took = Math.min(1000, performance.now() - begun);
  return { prediction };
}

/** All classes, the likeliest first. */
function predict(input) {
  const logits = network(input), temperature = model.calibration?.temperature ?? 1, sum = logSumExp(logits, temperature);
  const all = Array.from(logits, (logit, i) => ({ label: model.classes[i], probability: Math.exp(logit / temperature - sum), logit }));
  // By the logits: of probabilities that are 0, too, one is the next likeliest.
  const top = all.sort((a, b) => b.logit - a.logit);
  return { ...top[0], top, input, out_of_distribution: isUnlike(logits) };
}

/** Whether the picture is unlike those of training; nothing where the model has no limit. */
function isUnlike(logits) {
  const limit = model.out_of_distribution;
  if (!limit) return null;
  const energy = logSumExp(logits, 1);
  return (limit.score === "energy" ? energy : logits[best(logits)] - energy) < limit.threshold;
}

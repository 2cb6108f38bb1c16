
/* The answers of the server that the page came from. */

const NO_ANSWER = { message: "The server does not answer.", tip: "is it still running?" };

async function readModel() {
  $("curl").textContent = `curl --data-binary @picture.png ${location.origin}/v1/predict`;
  return { model: await (await fetch("/v1/model")).json() };
}

async function answer() {
  const picture = () => new Promise((done) => drawing().toBlob(done, "image/png"));
  const body = board.picture ? board.picture.file : await picture();
  const reply = await fetch("/v1/predict?input=true&top=" + model.classes.length, { method: "POST", body });
  const found = await reply.json();
  return reply.ok ? { prediction: found.predictions[0] } : { error: found.error };
}

// What is asked of the service for a state: as a request, and the same for a shell.

import { address, ask, askJson, base64Of, bytesOf } from "./api.js";
import { isKeyHeld, PLACEHOLDER } from "./key.js";

const PNG = { "Content-Type": "image/png" };

/**
 * {shown, raw}: what the stage shows, and the answer it comes from. With attacks it is that of POST /attack; where these
 * are switched off, the picture is read as it is and purified, and `shown.adversarial` is null.
 * Throws what `askJson` throws.
 */
export function answerTo(state, service, signal) {
  return service.attacks ? attacked(state, service, signal) : untouched(state, service, signal);
}

/** The same request as a command; complete, also with a picture of one's own, but for the API key. */
export function curlOf(state, service) {
  const curl = `curl -s${isKeyHeld() ? ` -H "Authorization: Bearer ${PLACEHOLDER}"` : ""}`;
  const url = service.attacks ? address("attack", attackQuery(state, service)) : address("classify", defended(state));
  if (state.source !== "samples") return `echo '${state.image}' | base64 -d | ${curl} --data-binary @- '${url}'`;
  if (service.attacks) return `${curl} -X POST '${url}'`;
  return `${curl} '${address(samplePath(state))}' | ${curl} --data-binary @- '${url}'`;
}

export const samplePath = ({ dataset, sample }) => `samples/${dataset}/${sample}`;

const defended = ({ dataset, defense }) => ({ dataset, defense });

function attackQuery(state, { methods }) {
  const method = methods.find(({ name }) => name === state.method);
  return {
    dataset: state.dataset,
    method: state.method,
    eps: method.eps ? state.eps : null,
    steps: method.steps ? state.steps : null,
    target: state.target,
    target_label: method.targeted ? state.lead : null,
    defense: state.defense,
    sample: state.source === "samples" ? state.sample : null,
  };
}

async function attacked(state, service, signal) {
  const own = state.source === "samples" ? {} : { body: bytesOf(state.image), headers: PNG };
  const answer = await askJson("attack", { method: "POST", query: attackQuery(state, service), signal, ...own });
  return { shown: { ...answer, truth: answer.true_label ?? answer.parameters.label }, raw: answer };
}

async function untouched(state, { datasets, listings }, signal) {
  const isSample = state.source === "samples";
  const image = isSample ? await sampleImage(state, signal) : state.image;
  const headers = { ...PNG, Accept: "application/json" };
  const post = (path, query) => askJson(path, { method: "POST", query, signal, body: bytesOf(image), headers });
  const [clean, purified, picture] = await Promise.all([
    post("classify", { dataset: state.dataset, defense: "none" }),
    post("classify", defended(state)),
    purifies(state, datasets) ? post("purify", defended(state)) : { image_png: image },
  ]);
  const shown = {
    truth: isSample ? listings[state.dataset].samples[state.sample].label : null,
    clean: { ...clean, image_png: image },
    adversarial: null,
    purified: { ...purified, image_png: picture.image_png },
    timings_ms: purified.timings_ms,
  };
  return { shown, raw: purified };
}

/** Whether a defense gives an image back; one that is another classifier does not. */
export const purifies = ({ dataset, defense }, datasets) =>
  datasets[dataset].graphs.some((graph) => graph.kind === "purifier" && graph.defense === defense);

async function sampleImage(state, signal) {
  const response = await ask(samplePath(state), { signal });
  return base64Of(new Uint8Array(await response.arrayBuffer()));
}

// The shipped test images of a data set, to pick one from. Each is fetched when it comes into view: the service may
// want a key, which an address cannot carry, and may count requests.

import { ask, base64Of, patiently } from "./api.js";
import { byId, element } from "./dom.js";
import { samplePath } from "./requests.js";

export class Picker {
  #box = byId("samples");
  #samples = [];
  #seen = new IntersectionObserver((entries) => this.#fetch(entries), { root: this.#box });

  /** `onSample(index)` is told what is picked, also by the button for a random one. */
  constructor(onSample) {
    this.#box.addEventListener("change", (event) => onSample(Number(event.target.value)));
    byId("shuffle").addEventListener("click", () => {
      const { index } = this.#samples[Math.floor(Math.random() * this.#samples.length)];
      this.mark(index);
      onSample(index);
    });
  }

  list(dataset, { samples }) {
    this.#samples = samples;
    this.#seen.disconnect();
    this.#box.replaceChildren(...samples.map((sample) => thumbnail(dataset, sample)));
    for (const picture of this.#box.querySelectorAll("img")) this.#seen.observe(picture);
  }

  /** Mark what is picked, and bring it into view. */
  mark(index) {
    const radio = this.#box.querySelector(`[value="${index}"]`);
    radio.checked = true;
    const { offsetTop, offsetHeight } = radio.parentElement;
    if (offsetTop < this.#box.scrollTop || offsetTop + offsetHeight > this.#box.scrollTop + this.#box.clientHeight) {
      this.#box.scrollTop = offsetTop - this.#box.clientHeight / 2;
    }
  }

  #fetch(entries) {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      this.#seen.unobserve(target);
      load(target);
    }
  }
}

function thumbnail(dataset, { index, class_name: name }) {
  const radio = element("input", { type: "radio", name: "sample", value: index, class: "hidden" });
  const picture = element("img", { alt: `${name}, test image ${index}`, width: 28, height: 28 });
  picture.dataset.path = samplePath({ dataset, sample: index });
  return element("label", { title: `${name} (${index})` }, radio, picture);
}

async function load(picture) {
  try {
    const response = await patiently(() => ask(picture.dataset.path));
    picture.src = `data:image/png;base64,${base64Of(new Uint8Array(await response.arrayBuffer()))}`;
  } catch {
    // Its name stands in its place; what is wrong is told where the pictures are.
  }
}

// How the page calls what the API names.

const DEFENSES = {
  autoencoder: "our auto-encoder",
  autoencoder_paper: "the paper’s auto-encoder",
  autoencoder_robust: "robust auto-encoder",
  defense_gan: "Defense-GAN",
  defense_vae: "Defense-VAE",
  distillation: "defensive distillation",
  puvae: "PuVAE",
};
const ATTACKS = {
  bim: "BIM",
  cw: "C&W",
  ddn: "DDN",
  fgsm: "FGSM",
  fgsm_least_likely: "FGSM to the least likely class",
  jsma: "JSMA",
  none: "no attack",
  pgd: "PGD",
  pgd_identity: "PGD as if the purifier changed nothing (BPDA)",
  random_noise: "random noise of ±",
};
const DATASETS = { mnist: "MNIST digits", "fashion-mnist": "Fashion-MNIST" };

const title = (titles) => (name) => titles[name] ?? name.replaceAll("_", " ");

export const defenseTitle = title(DEFENSES);
/** The usual short name of an attack, with its long one where that is given and another. */
export function attackTitle(name, long = null) {
  const short = ATTACKS[name] ?? null;
  if (long === null) return short ?? name.replaceAll("_", " ");
  return short === null ? long : `${short}: ${long}`;
}

export const datasetTitle = title(DATASETS);

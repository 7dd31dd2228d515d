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
const SAME_READER = "The same network reads it.";
const TALES = {
  autoencoder: `The purifier’s redrawing: an auto-encoder that learned, from attacked pictures, to give back the clean ones. ${SAME_READER}`,
  autoencoder_robust: `The purifier’s redrawing: an auto-encoder that learned against attackers who knew it. ${SAME_READER}`,
  defense_gan: `The purifier’s redrawing: the nearest picture that a generator can make, found step by step. ${SAME_READER}`,
  defense_vae: `The purifier’s redrawing: a code of the picture, and from it a clean one. ${SAME_READER}`,
  distillation: "Nothing is redrawn: another network reads the picture, one that learned from the first one’s answers.",
  puvae: `The purifier’s redrawing: one candidate for each class, of which the nearest is taken. ${SAME_READER}`,
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
  pgd_transfer: "PGD made through another purifier (transfer)",
  random_noise: "random noise of ±",
  worst_case: "Worst of all attacks within",
};
const DATASETS = { mnist: "MNIST digits", "fashion-mnist": "Fashion-MNIST" };

const title = (titles) => (name) => titles[name] ?? name.replaceAll("_", " ");

export const defenseTitle = title(DEFENSES);
/** What a defense makes of a picture, in a sentence or two. */
export const defenseTale = (name) => TALES[name] ?? `The purifier’s redrawing. ${SAME_READER}`;
/** The usual short name of an attack, with its long one where that is given and another. */
export function attackTitle(name, long = null) {
  const short = ATTACKS[name] ?? null;
  if (long === null) return short ?? name.replaceAll("_", " ");
  return short === null ? long : `${short}: ${long}`;
}

export const datasetTitle = title(DATASETS);

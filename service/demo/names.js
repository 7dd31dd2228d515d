// How the page calls what the API names.

const DEFENSES = {
  autoencoder: "our auto-encoder",
  autoencoder_paper: "the paper’s auto-encoder",
  autoencoder_robust: "robust auto-encoder",
  defense_gan: "Defense-GAN",
  defense_vae: "Defense-VAE",
  puvae: "PuVAE",
};
const ATTACKS = { fgsm: "FGSM", bim: "BIM", pgd: "PGD", fgsm_least_likely: "FGSM, to the least likely class" };
const DATASETS = { mnist: "MNIST digits", "fashion-mnist": "Fashion-MNIST" };

const title = (titles) => (name) => titles[name] ?? name.replaceAll("_", " ");

export const defenseTitle = title(DEFENSES);
export const attackTitle = title(ATTACKS);
export const datasetTitle = title(DATASETS);

// Links within the page. They move the eye and the focus, and leave the address alone: its fragment is the state.

/** Let the links to `#id` lead there. */
export function installAnchors() {
  for (const link of document.querySelectorAll('a[href^="#"]')) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      const target = document.querySelector(link.hash);
      target.scrollIntoView();
      target.focus({ preventScroll: true });
    });
  }
}

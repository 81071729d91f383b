// What the theme leaves out for those who do not use a mouse or see the page.
document.addEventListener("DOMContentLoaded", () => {
  for (const caption of document.querySelectorAll("p.caption[role=heading]")) caption.setAttribute("aria-level", "2");
  for (const part of document.querySelectorAll("pre, .table-wrapper, .output, .math"))
    if (part.scrollWidth > part.clientWidth) part.tabIndex = 0; // so that arrow keys scroll it
});

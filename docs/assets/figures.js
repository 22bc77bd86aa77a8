"use strict";
/* Draws the page's figures, light or dark as the page is, and again when the reader changes that. */
(() => {
  const { templates, config, figures } = window.workbench;
  const touch = matchMedia("(pointer: coarse)").matches;
  const scheme = () => (document.body.getAttribute("data-md-color-scheme") === "slate" ? "dark" : "light");
  const boxes = [...document.querySelectorAll(".wb-plot")];

  /* A phone gets square figures as high as they are wide, a camera that stands further back, and scrolling instead of dragging. */
  const fit = (layout, width) => {
    const axis = layout.yaxis || {}, camera = layout.scene && layout.scene.camera;
    if (axis.scaleanchor) layout.height = Math.min(layout.height, width + 90);
    if (camera && width < 520) for (const k of "xyz") camera.eye[k] *= 1.9;
    if (touch) layout.dragmode = layout.scene ? "turntable" : false;
    return layout;
  };

  for (const box of boxes) {
    const { data, layout } = structuredClone(figures[box.dataset.figure]), fitted = fit(layout, box.clientWidth);
    box.style.height = `${fitted.height}px`;
    Plotly.newPlot(box, data, { ...fitted, template: templates[scheme()] }, { ...config, displayModeBar: touch ? false : "hover" });
  }
  new MutationObserver(() => boxes.forEach(box => Plotly.relayout(box, { template: templates[scheme()] })))
    .observe(document.body, { attributes: true, attributeFilter: ["data-md-color-scheme"] });
})();

addEventListener("load", () => {
  const root = document.getElementById("NAME"), data = JSON.parse(root.querySelector("script").textContent);
  const box = root.querySelector(".plot"), slider = root.querySelector("input"), shown = root.querySelector("output");
  const picker = root.querySelector("select"), panel = root.querySelector(".role"), roles = data.roles, last = roles.length - 1;
  const dark = matchMedia("(prefers-color-scheme: dark)"), copy = value => JSON.parse(JSON.stringify(value));
  const template = () => data.templates[dark.matches ? "dark" : "light"];
  const flat = data.figure.layout.meta.dims === 2, layers = data.figure.frames.map(frame => frame.name);
  let chosen = -1, narrow = null, ready = Promise.resolve();

  const KINDS = {f4: Float32Array, f8: Float64Array, i1: Int8Array, u1: Uint8Array, i2: Int16Array};
  const unpack = packed => {
    if (!packed || !packed.bdata) return packed;
    return new KINDS[packed.dtype](Uint8Array.from(atob(packed.bdata), c => c.charCodeAt(0)).buffer);
  };
  const numbers = layers.map((_, i) => data.figure.frames[i].data.map(trace => ({x: unpack(trace.x), y: unpack(trace.y), z: unpack(trace.z)})));
  const heights = data.figure.data.map(trace => unpack(trace.y));
  const TRACES = heights.length;

  // Below each other on a phone, with the headings of the panels where the panels are.
  function arranged(figure) {
    const layout = figure.layout, places = layout.meta[narrow ? "narrow" : "wide"], [line, loadings] = flat ? ["2", "3"] : ["", "2"];
    delete layout.sliders;
    const heads = annotations => [["space", "space_y"], ["right", "line_y"], ["right", "loadings_y"]].forEach(([across, up], i) => {
      annotations[i].x = narrow ? 0 : places[across][0];
      annotations[i].y = places[up][1];
    });
    // The first labels are the default's and those of the furthest roles: a phone has room for six.
    const few = (holder, count) => { if (narrow) holder.annotations = holder.annotations.slice(0, count); };
    [layout, ...figure.frames.map(frame => frame.layout)].forEach(part => {
      heads(part.annotations);
      few(flat ? part : part.scene, flat ? 9 : 6);
    });
    for (const [n, up] of [[line, "line_y"], [loadings, "loadings_y"]]) {
      layout["xaxis" + n].domain = places.right;
      layout["yaxis" + n].domain = places[up];
    }
    if (flat) { layout.xaxis.domain = places.space; layout.yaxis.domain = places.space_y; }
    else layout.scene.domain = {x: places.space, y: places.space_y};
    layout.height = narrow ? 1020 : 560;
    layout.margin = {...layout.margin, t: 30, b: 110};
    layout.title = {};
    Object.assign(layout.coloraxis.colorbar, narrow ? {x: .5, len: .8, y: -.09} : {y: -.13});
    return figure;
  }
  const ring = {mode: "markers", hoverinfo: "skip", showlegend: false, name: "chosen", x: [], y: []};
  function marks() {
    const axes = flat ? [["x", "y"], ["x2", "y2"], ["x3", "y3"]] : [[], ["x", "y"], ["x2", "y2"]];
    return axes.map(([xaxis, yaxis], i) => ({
      ...ring, ...(xaxis ? {type: "scatter", xaxis, yaxis} : {type: "scatter3d", z: [], scene: "scene"}),
      marker: {symbol: "circle-open", size: xaxis ? 17 : 13, color: dark.matches ? "#e4e6ea" : "#22262c", line: {width: 2}},
    }));
  }
  function draw() {
    narrow = box.clientWidth < 700;
    const figure = arranged(copy(data.figure));
    figure.layout.coloraxis2.colorscale = template().layout.coloraxis.colorscale;
    box.style.height = figure.layout.height + "px";
    const config = {...data.config, displayModeBar: false};
    if (matchMedia("(pointer: coarse)").matches) figure.layout.dragmode = flat ? false : "turntable";
    ready = Plotly.newPlot(box, [...figure.data, ...marks()], {...figure.layout, template: template()}, config)
      .then(() => Plotly.addFrames(box, figure.frames))
      .then(() => {
        box.on("plotly_click", event => { const at = event.points[0]; if (at.curveNumber < TRACES) choose(at.curveNumber % 2 ? last : at.pointNumber); });
        go();
      });
  }
  // A move that the next one overtook is rejected by Plotly without a reason.
  const overtaken = reason => { if (reason) throw reason; };
  function go() {
    const layer = layers[slider.value];
    shown.value = layer;
    slider.setAttribute("aria-valuetext", "layer " + layer);
    const now = {mode: "immediate", frame: {duration: 0, redraw: true}, transition: {duration: 0}};
    ready = ready.then(() => Plotly.animate(box, [layer], now)).then(surround).catch(overtaken);
  }
  function surround() {
    if (chosen < 0) return;
    const here = numbers[slider.value], own = +(chosen === last), i = own ? 0 : chosen;
    const space = here[own], line = here[2 + own], loadings = [4, 6, 8].map(k => k + own);
    const x = [[space.x[i]], [line.x[i]], loadings.map(k => here[k].x[i])];
    const y = [[space.y[i]], [line.y[i]], loadings.map(k => heights[k][i])];
    return Plotly.restyle(box, flat ? {x, y} : {x, y, z: [[space.z[i]], undefined, undefined]}, [0, 1, 2].map(k => TRACES + k));
  }
  function add(parent, tag, text, kind) {
    const made = parent.appendChild(document.createElement(tag));
    made.textContent = text;
    if (kind) made.className = kind;
    return made;
  }
  function choose(i) {
    chosen = i;
    picker.value = i;
    const role = roles[i];
    panel.replaceChildren();
    add(panel, "h3", role.role);
    for (const line of [role.description, [role.tags, role.labels].filter(Boolean).join("; ")]) if (line) add(panel, "p", line, "quiet");
    if (role.prompts.length) {
      add(panel, "h4", "System prompts");
      const list = add(panel, "ul", "");
      role.prompts.forEach(text => add(list, "li", text));
    }
    if (role.responses.length) add(panel, "h4", "Responses nearest its mean on the axis, layer " + data.layer);
    for (const said of role.responses) {
      const facts = "projection " + said.projection.toFixed(2).replace("-", "\u2212") + (said.label === null ? "" : ", label " + said.label);
      add(panel, "p", (said.prompt ? "“" + said.prompt + "” " : "No system prompt: ") + facts, "quiet");
      add(panel, "p", said.question);
      add(panel, "blockquote", said.response);
    }
    ready = ready.then(surround);
  }
  slider.addEventListener("input", go);
  picker.addEventListener("change", () => choose(+picker.value));
  dark.addEventListener("change", draw);
  addEventListener("resize", () => { if (box.clientWidth < 700 !== narrow) draw(); });
  const look = change => Plotly.relayout(box, change);
  addEventListener("beforeprint", () => look({template: data.templates.light, width: 660}));
  addEventListener("afterprint", () => look({template: template(), width: null, autosize: true}));
  draw();
});

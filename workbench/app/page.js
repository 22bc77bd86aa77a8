// What the page does by itself: its name, its copy of the conversation, charts, the dialog of tokens. Nothing is fetched from elsewhere.
window.workbench = (() => {
  const CHANNEL = 'workbench-tabs', NAME = 'workbench-tab', COPY = 'workbench-copy', LAST = 'workbench-last';
  const made = () => [...crypto.getRandomValues(new Uint8Array(16))].map(b => b.toString(16).padStart(2, '0')).join('');
  const channel = 'BroadcastChannel' in window ? new BroadcastChannel(CHANNEL) : null;
  let name = null;
  if (channel) channel.onmessage = ({data}) => {
    if (data.asks && data.asks === name && data.from !== me) channel.postMessage({taken: name});
    if (data.taken && taken) taken(data.taken);
  };
  const me = made();
  let taken = null;
  // A duplicated tab takes its session storage along: it must not go on in the other's conversation.
  const own = async () => {
    if (name) return name;
    const kept = sessionStorage.getItem(NAME);
    let free = true;
    if (kept && channel) {
      free = await new Promise(done => {
        taken = other => { if (other === kept) done(false); };
        channel.postMessage({asks: kept, from: me});
        setTimeout(() => done(true), 80);
      });
      taken = null;
    }
    name = kept && free ? kept : made();
    sessionStorage.setItem(NAME, name);
    return name;
  };
  const store = (where, key, text) => { try { where.setItem(key, text); } catch { /* full: the server still has it */ } };
  const begin = async () => {
    hold();
    const who = await own(), query = location.search.slice(1);
    if (query) history.replaceState(null, '', location.pathname);
    return [who, sessionStorage.getItem(COPY) || '', query];
  };
  const keep = text => {
    if (!text || !name) return;
    store(sessionStorage, COPY, text);
    if (JSON.parse(text).said) store(localStorage, LAST, JSON.stringify({tab: name, copy: text}));
  };
  const dark = () => document.body.classList.contains('dark');
  // Colours that a dark page would swallow, for those that it does not: "dark" in a figure's text says which.
  const lighter = text => Object.entries(JSON.parse(text).dark).reduce((all, [from, to]) => all.replaceAll(from, to), text);
  const draw = (place, text) => {
    if (!window.Plotly) { setTimeout(() => draw(place, text), 60); return; }
    if (!text) { Plotly.purge(place); place.replaceChildren(); place.style.height = '0'; return; }
    const {data, layout, config, templates} = JSON.parse(dark() ? lighter(text) : text);
    place.style.height = layout.height + 'px';
    Plotly.react(place, data, {...layout, template: templates[dark() ? 'dark' : 'light']}, config);
  };
  // The end of the conversation stays in view while it grows, until its reader scrolls up; a new message brings it back.
  let held = true, answering = false, below = 0;
  const beyond = () => document.querySelector('.talk').getBoundingClientRect().bottom - innerHeight;  // pixels of it below the view
  const settle = () => {
    // Back up as well where it was held and shrank, but never away from what lies below it.
    if (held && (beyond() > 0 || below > -60)) scrollBy({top: Math.floor(beyond()), behavior: 'instant'});
    below = beyond();
  };
  // Who scrolls shows in what a hand does: a scroll event may be our own, and comes late on a busy machine.
  const free = () => { held = false; };
  const scrolled = () => {
    below = beyond();
    if (below < 60) held = true;
  };
  const hold = () => {
    addEventListener('wheel', event => { if (event.deltaY < 0) free(); }, {passive: true});
    addEventListener('touchmove', free, {passive: true});
    addEventListener('keydown', event => { if (['PageUp', 'Home', 'ArrowUp'].includes(event.key)) free(); });
    addEventListener('mousedown', event => { if (event.target === document.documentElement) free(); });  // the scroll bar
    addEventListener('scroll', scrolled, {passive: true});
    new ResizeObserver(settle).observe(document.querySelector('.talk'));
  };
  const follow = () => {
    const now = document.querySelector('#live .exchange') !== null;
    if (now && !answering) { held = true; settle(); }
    answering = now;
  };
  const copy = async (text, button) => {
    try { await navigator.clipboard.writeText(text); } catch {
      const area = Object.assign(document.createElement('textarea'), {value: text});
      document.body.append(area); area.select(); document.execCommand('copy'); area.remove();
    }
    const was = button.textContent;
    button.textContent = 'Copied'; setTimeout(() => { button.textContent = was; }, 1200);
  };
  return {begin, keep, draw, follow, copy, last: () => localStorage.getItem(LAST) || ''};
})();

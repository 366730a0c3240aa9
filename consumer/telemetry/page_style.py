"""How the worker's pages look: one style sheet, inline, allowed by its hash in the Content-Security-Policy.

On a narrow screen each row of a table becomes a card, whose cells name themselves by `data-label`. Colours are pairs of
a contrast of 4.5 or more, and none says anything that is not said in words too.
"""

from __future__ import annotations

import base64
import hashlib

STYLE = """
:root{color-scheme:light dark;--page:#f5f6f8;--card:#fff;--text:#1a1d23;--soft:#565d6b;--line:#dfe2e8;--link:#0a57c2;
--ok:#0b6b3a;--ok-on:#e0f4e8;--warn:#7a4a00;--warn-on:#fff1d6;--bad:#a3161a;--bad-on:#fde5e4}
@media (prefers-color-scheme:dark){:root{--page:#101317;--card:#191d23;--text:#e8eaee;--soft:#a3abb9;--line:#2c323b;
--link:#86b5ff;--ok:#74d69c;--ok-on:#12301f;--warn:#f5c26b;--warn-on:#352711;--bad:#ff9d98;--bad-on:#3b1a1b}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--text);font:15px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",Arial,sans-serif;-webkit-text-size-adjust:100%}
main,header,footer{max-width:76rem;margin:0 auto;padding:0 1.25rem}
header{padding-top:1.25rem}
h1{font-size:1.5rem;line-height:1.2;margin:0;display:inline;overflow-wrap:anywhere}
h2{font-size:1.05rem;margin:0 0 .6rem}
h3{font-size:.95rem;margin:1.1rem 0 .4rem}
p{margin:.3rem 0 .6rem}
a{color:var(--link)}
a:focus-visible{outline:2px solid var(--link);outline-offset:2px}
code,.id{font:.92em/1.4 ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono",monospace;overflow-wrap:anywhere}
.soft{color:var(--soft)}
.who{color:var(--soft);margin:.35rem 0 0;overflow-wrap:anywhere}
.pill{display:inline-block;padding:.1rem .55rem;border-radius:1rem;font-size:.85rem;font-weight:600;white-space:nowrap}
h1+.pill{margin-left:.6rem;vertical-align:.2em}
.ok{color:var(--ok)}.warning{color:var(--warn)}.error{color:var(--bad)}
.pill.ok,.note.ok{background:var(--ok-on)}.pill.warning,.note.warning{background:var(--warn-on)}
.pill.error,.note.error{background:var(--bad-on)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(8.5rem,1fr));gap:.75rem;margin:1rem 0;padding:0}
.tile{background:var(--card);border:1px solid var(--line);border-radius:.6rem;padding:.6rem .7rem;min-width:0;
display:flex;flex-direction:column;justify-content:space-between}
.tile dt{color:var(--soft);font-size:.77rem}
.tile dd{margin:.1rem 0 0;font-size:1.35rem;font-weight:600;font-variant-numeric:tabular-nums;white-space:nowrap}
section{overflow-x:auto;background:var(--card);border:1px solid var(--line);border-radius:.6rem;
padding:.9rem 1rem;margin:0 0 1rem}
.notes{list-style:none;margin:0;padding:0}
.note{border-radius:.4rem;padding:.45rem .7rem;margin:0 0 .4rem;overflow-wrap:anywhere;color:var(--text)}
.note:last-child{margin-bottom:0}
.note b{margin-right:.35rem}
.note.error b,.note.error b~.id{color:var(--bad)}.note.warning b{color:var(--warn)}.note.ok b{color:var(--ok)}
table{width:100%;border-collapse:collapse;font-variant-numeric:tabular-nums}
th{text-align:left;font-size:.82rem;font-weight:600;color:var(--soft);vertical-align:bottom}
th,td{padding:.4rem .9rem .4rem 0;border-bottom:1px solid var(--line)}
td{vertical-align:top}
tbody th{font-size:inherit;font-weight:500;color:var(--text);vertical-align:top}
tbody tr:last-child>*{border-bottom:0}
th:last-child,td:last-child{padding-right:0}
.n+.wide{padding-left:1rem}
.n{text-align:right;white-space:nowrap}
table .id{white-space:nowrap}
.sub{display:block;color:var(--soft);font-size:.85rem;font-weight:400;white-space:normal}
.n .sub{white-space:nowrap}
.wide{overflow-wrap:anywhere}
td .warning,td .error{font-weight:600;white-space:nowrap}
footer{padding-bottom:1.5rem;color:var(--soft)}
footer a{margin-right:1rem;white-space:nowrap}
dl.help{margin:0}
dl.help dt{font-weight:600;margin-top:.6rem}
dl.help dd{margin:0;max-width:48rem}
@media (max-width:52rem){
main,header,footer{padding-left:.8rem;padding-right:.8rem}
section{padding:.8rem}
.tiles{grid-template-columns:1fr 1fr;gap:.5rem}
.tile:last-child:nth-child(odd){grid-column:1/-1}
table,tbody,td,tbody th{display:block}
thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
tbody tr{display:grid;grid-template-columns:1fr 1fr;gap:.4rem 1rem;border-bottom:1px solid var(--line);padding:.6rem 0}
tbody tr:first-child{padding-top:0}
tbody tr:last-child{border-bottom:0;padding-bottom:0}
tbody th,td,.n+.wide{border:0;padding:0;min-width:0}
tbody th,td.wide{grid-column:1/-1}
.n,.n .sub{text-align:left;white-space:normal}
td::before{content:attr(data-label);display:block;color:var(--soft);font-size:.8rem}
td>div{overflow-wrap:anywhere}
table .id{white-space:normal}
.none{display:none}
}
"""

STYLE_HASH = "'sha256-" + base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode() + "'"
"""What allows the style, and no other, in a Content-Security-Policy."""

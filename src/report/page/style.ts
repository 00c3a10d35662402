/** The page's style sheet. Colours are told apart by lightness too, and every area that means something has a pattern. */

export const STYLE = `
:root{color-scheme:light dark;--paper:#fff;--ink:#1b1f24;--soft:#57606a;--line:#d0d7de;--panel:#f6f8fa;--accent:#0550ae;
--good:#116329;--good-bg:#dafbe1;--bad:#a40e26;--bad-bg:#ffebe9;--doubt:#7d4e00;--doubt-bg:#fff3c4;
--accurate:#bfe3d8;--stale:#f2c14e;--stale-ink:#7a4b00;--blind:#7a1022;
--held:#3d9c8f;--described:#b9ddd7;--described-ink:#2c6f66;--backed:#e4e7eb;--backed-ink:#6b7280;--crash:#5b6f9e;--crash-ink:#fff;--missing:#d1352b;--missing-ink:#fff;--none:#fff;--none-ink:#e3e7ec;--bar:#3b6fb6;--mark:#ffdf5d;--mark-ink:#1b1f24}
@media (prefers-color-scheme:dark){:root{--paper:#0f1317;--ink:#e6edf3;--soft:#9da7b3;--line:#353c45;--panel:#171c22;--accent:#79b8ff;
--good:#7ee2a8;--good-bg:#12311f;--bad:#ff9d94;--bad-bg:#3d1518;--doubt:#f3c969;--doubt-bg:#352a0d;
--accurate:#23584b;--stale:#d99e2b;--stale-ink:#3a2600;--blind:#ff7b72;
--held:#2f8f80;--described:#24453f;--described-ink:#7cc9bc;--backed:#2a3038;--backed-ink:#8b949e;--crash:#6f83b5;--crash-ink:#10151c;--missing:#ff6a5f;--missing-ink:#2a0503;--none:#0f1317;--none-ink:#262c34;--bar:#6ea3e8;--mark:#8a6d00;--mark-ink:#fff}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0 auto;max-width:74rem;padding:1.5rem 1rem 4rem;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.6rem;line-height:1.25;margin:.2rem 0 1rem}h2{font-size:1.2rem;margin:2.6rem 0 .5rem;padding-top:.6rem;border-top:1px solid var(--line)}
p{margin:.5rem 0;max-width:72ch}small,.note,figcaption,caption{color:var(--soft);font-size:.85rem}figcaption{max-width:80ch;margin:.3rem 0 1rem}
figure{margin:0}code{font:.86em/1.4 ui-monospace,monospace}
a{color:var(--accent)}:focus-visible{outline:3px solid var(--accent);outline-offset:2px}
.skip{position:absolute;left:-999rem}.skip:focus{left:1rem;top:.5rem;background:var(--paper);padding:.4rem}
.sr{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
.simulated{border:2px dashed var(--doubt);background:var(--doubt-bg);color:var(--doubt);padding:.5rem .8rem;border-radius:.4rem;font-weight:600;max-width:none}
.lead{border-left:.4rem solid var(--line);padding:.6rem .9rem;font-size:1.1rem;background:var(--panel);max-width:none}
.lead.good{border-color:var(--good)}.lead.bad{border-color:var(--bad)}.lead.doubt,.lead.unknown{border-color:var(--doubt)}
.tone.good{color:var(--good)}.tone.bad{color:var(--bad);font-weight:600}.tone.doubt,.tone.unknown{color:var(--doubt)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1.2rem;margin:.5rem 0}dt{color:var(--soft)}dd{margin:0}
pre{background:var(--panel);border:1px solid var(--line);border-radius:.4rem;padding:.6rem .8rem;white-space:pre-wrap;margin:.5rem 0}
nav ul{display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;padding:0;list-style:none;margin:.8rem 0}
.scroll,.scroll-map{overflow-x:auto;max-width:100%}
table{border-collapse:collapse;font-size:.9rem;margin:.6rem 0;font-variant-numeric:tabular-nums}caption{text-align:left;padding:.2rem 0}
th,td{padding:.25rem .65rem .25rem 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--line);overflow-wrap:normal}
thead th{border-bottom-width:2px;color:var(--soft);font-weight:600}tbody th{font-weight:600}td{min-width:3rem;white-space:nowrap}td.t{white-space:normal;min-width:13rem}tbody th{min-width:5rem}
.bytes td,.bytes th,.headers code{white-space:nowrap}.more{color:var(--soft);font-style:italic}
mark,ins{background:var(--mark);color:var(--mark-ink);text-decoration:underline;text-underline-offset:2px;font-weight:600}del{color:var(--bad)}
.legend{display:flex;flex-wrap:wrap;gap:.3rem 1.2rem;font-size:.9rem;max-width:none}.swatch{width:1rem;height:1rem;vertical-align:-.15rem;border:1px solid var(--soft);flex:none}
.row{display:grid;grid-template-columns:16rem minmax(0,1fr);gap:0 .8rem;align-items:center;margin:.3rem 0}.name{text-align:right;line-height:1.2;font-size:.9rem;overflow-wrap:normal}.name small{display:block}
.band{display:block;width:100%;height:24px;border:1px solid var(--line)}.accurate{fill:var(--accurate)}.stale{fill:url(#stale)}.blind{fill:var(--blind)}
.stale-paper{fill:var(--stale)}.stale-ink{stroke:var(--stale-ink);stroke-width:2}
.playhead{stroke:var(--ink);stroke-width:3}
.axis{display:block;overflow:visible}.axis line{stroke:var(--soft)}.axis text{fill:var(--soft);font-size:12px}
.histogram{display:block;border-bottom:1px solid var(--soft);overflow:visible}.bar{fill:var(--bar)}.median{stroke:var(--ink);stroke-width:2}.worst{stroke:var(--ink);stroke-width:2;stroke-dasharray:4 3}
.outcome,.moments{display:block;overflow:visible}.whisker{stroke:var(--ink);stroke-width:2}.moments line{stroke:var(--line)}
.p-complete{fill:none;stroke:var(--good);stroke-width:1.6}.p-incomplete{fill:var(--stale);stroke:var(--stale-ink);stroke-width:1.2}.p-no-dump{fill:none;stroke:var(--blind);stroke-width:3}
.map{margin:.8rem 0}.map:focus-visible{outline-offset:.5rem}
.controls{display:flex;flex-wrap:wrap;gap:.5rem .8rem;align-items:center}.buttons{display:flex;flex-wrap:wrap;gap:.3rem}
[hidden]{display:none!important}
button,select{font:inherit;color:var(--ink);background:var(--panel);border:1px solid var(--soft);border-radius:.35rem;padding:.3rem .7rem;min-height:2.4rem;min-width:2.6rem}button{cursor:pointer}button[aria-disabled=true]{color:var(--soft);cursor:default}
.map-band{margin-top:.5rem}
.step-slider{flex:1 1 14rem;min-width:0;accent-color:var(--accent);min-height:2rem}
.step{min-height:3.1em;margin:.6rem 0 .3rem;max-width:none}.condition{display:inline-block;padding:0 .5rem;border-radius:.3rem;font-weight:600;white-space:nowrap}
.c0{background:var(--good-bg);color:var(--good)}.c1,.c3{background:var(--doubt-bg);color:var(--doubt)}.c2{background:var(--bad-bg);color:var(--bad)}
.region-name{margin:.5rem 0 .1rem;font-size:.85rem;color:var(--soft)}.cells{display:block;width:100%;border:1px solid var(--line)}.cells.w32{max-width:44rem}.cells.w128{min-width:36rem}
.m-none{fill:url(#m-none)}.m-backed{fill:url(#m-backed)}.m-described{fill:url(#m-described)}.m-crash{fill:url(#m-crash)}.m-held{fill:url(#m-held)}.m-stale{fill:url(#m-stale)}.m-missing{fill:url(#m-missing)}
.f-none{fill:var(--none)}.f-backed{fill:var(--backed)}.f-described{fill:var(--described)}.f-crash{fill:var(--crash)}.f-held{fill:var(--held)}.f-stale{fill:var(--stale)}.f-missing{fill:var(--missing)}
.i-none{stroke:var(--none-ink)}.i-backed{stroke:var(--backed-ink)}.i-described{stroke:var(--described-ink)}.i-crash{stroke:var(--crash-ink)}.i-held{stroke:var(--paper)}.i-stale{stroke:var(--stale-ink)}.i-missing{stroke:var(--missing-ink)}
.counts .swatch{width:1.3rem;height:1.3rem}
details{margin:.6rem 0}summary{cursor:pointer}
.defs{position:absolute;width:0;height:0}
footer{margin-top:3rem;border-top:1px solid var(--line);padding-top:.6rem;color:var(--soft);font-size:.85rem}
@media (max-width:40rem){body{padding:1rem .75rem 3rem}.row{grid-template-columns:minmax(0,1fr)}.name{text-align:left}.minor text{display:none}dl{grid-template-columns:1fr}dt{margin-top:.4rem}h1{font-size:1.35rem}}
@media print{:root{color-scheme:light;--paper:#fff;--ink:#000;--soft:#444;--line:#bbb;--panel:#fff;--accent:#0550ae;--good:#116329;--good-bg:#fff;--bad:#a40e26;--bad-bg:#fff;--doubt:#7d4e00;--doubt-bg:#fff;--accurate:#d9efe8;--stale:#f2c14e;--stale-ink:#7a4b00;--blind:#7a1022;--held:#3d9c8f;--described:#b9ddd7;--described-ink:#2c6f66;--backed:#e4e7eb;--backed-ink:#6b7280;--crash:#5b6f9e;--crash-ink:#fff;--missing:#d1352b;--missing-ink:#fff;--none:#fff;--none-ink:#e3e7ec;--bar:#3b6fb6;--mark:#ffdf5d;--mark-ink:#000}
body{max-width:none;padding:0;font-size:10pt;-webkit-print-color-adjust:exact;print-color-adjust:exact}nav,.controls,.skip{display:none!important}figure,tr,.row{break-inside:avoid}h2{break-after:avoid;margin-top:1.2rem}.scroll,.scroll-map{overflow:visible}table{font-size:7pt}td,th,td.t,tbody th{white-space:normal;min-width:0;overflow-wrap:break-word}td code{overflow-wrap:anywhere}.cells.w128{min-width:0}th,td{padding-right:.3rem}.bytes td,.bytes th,.headers code{white-space:normal}thead{display:table-header-group}}
@media (prefers-reduced-motion:no-preference){html{scroll-behavior:smooth}}
@media (forced-colors:active){.swatch,.band,.cells,.histogram,.outcome{forced-color-adjust:none}}
`;

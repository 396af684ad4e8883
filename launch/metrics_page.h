/* The page at / of --metrics: shows /status.json, rates over the last second. Included by metrics.c alone. */
#ifndef FL_LAUNCH_METRICS_PAGE_H
#define FL_LAUNCH_METRICS_PAGE_H

static const char metrics_page[] =
    "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'><title>flowrun</title>\n"
    "<style>body{font:15px system-ui,sans-serif;margin:2em;max-width:60em}table{border-collapse:collapse;width:100%}\n"
    "th,td{padding:.3em .8em;text-align:right;border-bottom:1px solid #ccc}th:first-child,td:first-child{text-align:left}\n"
    "progress{width:100%;height:1.2em}.most td:first-child{font-weight:bold}</style>\n"
    "<h1>flowrun</h1><p id=line>waiting for numbers</p><progress id=bar max=1 value=0></progress>\n"
    "<table><thead><tr><th>stage<th>instances<th>tiles/s<th>busy<th>no input<th>no credit<th>waiting<th>deaths</tr></thead><tbody id=rows></tbody></table>\n"
    "<script>\n"
    "let before=null;\n"
    "const share=x=>Math.round(100*Math.min(1,Math.max(0,x)))+'%';\n"
    "function show(now){\n"
    "  const dt=before?now.seconds-before.seconds:0, rows=[];\n"
    "  let most=0,limits='';\n"
    "  for(const [name,s] of Object.entries(now.stages)){\n"
    "    const b=before&&before.stages[name], per=(k,n)=>b&&dt>0?(s[k]-b[k])/dt/n:0;\n"
    "    const busy=per('busy_s',s.instances);\n"
    "    if(busy>most){most=busy;limits=name;}\n"
    "    rows.push([name,s.instances,Math.round(per('tiles',1)),share(busy),share(per('wait_input_s',s.instances)),\n"
    "               share(per('wait_credit_s',s.instances)),s.waiting,s.deaths]);\n"
    "  }\n"
    "  const rate=before&&dt>0?(now.done-before.done)/dt:0;\n"
    "  line.textContent=`${now.status}: ${now.done} of ${now.tiles} tiles, ${Math.round(rate)} tiles/s, ${now.in_flight} batches in flight, `+\n"
    "    `${now.rejected} rejected, ${now.reissued_batches} batches issued again`+(limits?`; limited by ${limits}`:'');\n"
    "  bar.value=now.tiles?now.done/now.tiles:0;\n"
    "  const body=document.getElementById('rows');\n"
    "  body.replaceChildren(...rows.map(r=>{const tr=document.createElement('tr');tr.className=r[0]==limits?'most':'';\n"
    "    tr.append(...r.map(x=>{const td=document.createElement('td');td.textContent=x;return td;}));return tr;}));\n"
    "  before=now;\n"
    "}\n"
    "async function turn(){try{show(await(await fetch('status.json')).json());}catch(e){line.textContent='no answer: the run has ended, or can not be reached';}\n"
    "  setTimeout(turn,1000);}\n"
    "turn();\n"
    "</script></html>\n";

#endif

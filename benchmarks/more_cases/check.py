import sys; sys.path.insert(0, "/work/hsrc")
import glob, gzip, json
from collections import Counter
from ho import validate
cs = {}
for f in sorted(glob.glob("/work/heldout/*/*.json.gz")):
    c = json.load(gzip.open(f, "rt"))
    if "hf4-esm" in c["id"]:
        t = next(t for t in c["truth"] if "inv_freq" in t["target"][0]); inv = [k for k, *_ in c["source"]["keys"] if k.endswith("inv_freq")]
        t["also"] = [[k] for k in inv if k != t["source"][0]]; c["unexpected"] = [k for k in c["unexpected"] if k not in inv]
        json.dump(c, gzip.open(f, "wt"))
    try: validate(c)
    except AssertionError as e: print("BAD", f, str(e)[:300])
    assert f.endswith(f"/{c['group']}/{c['id']}.json.gz"), f
    assert c["id"] not in cs; cs[c["id"]] = c
    for side in ("source", "target"):
        for k, s, d in c[side]["keys"]: assert d in ("float32", "int64", "uint8", "int32", "bool"), (c["id"], k, d)
corp = {json.load(gzip.open(f, "rt"))["id"] for f in glob.glob("/work/shared/corpus/*/*.json.gz")}
print("same id as corpus:", [i for i in cs if i in corp])
for c in cs.values():
    for t in c["tags"]:
        if t.startswith("small-pair-of:") and t[14:] not in cs: print("dangling", c["id"], t)
    o = [t for t in c["truth"] if t["op"] == "other"]
    if o: print("other", c["id"], o[:2])
    if len(c["truth"]) == 0 and "unrelated" not in c["tags"]: print("empty", c["id"])
g = Counter(c["group"] for c in cs.values()); print(len(cs), dict(g)); print(Counter(c["verified"] for c in cs.values())); print(Counter(t["op"] for c in cs.values() for t in c["truth"]))
print("identity-only", sum(all(len(t["source"]) == 1 and t["source"] == t["target"] and t["op"]=="rename" for t in c["truth"]) and bool(c["truth"]) for c in cs.values()), [c["id"] for c in cs.values() if c["truth"] and all(t["source"] == t["target"] for t in c["truth"])])

"""Tiles a second of PyTorch beside speed: torch_rival.py ARCH SIZE ROWS OURS. compile, channels_last, f16, BN folded by the compiler; one JSON line.

OURS: what speed wrote. ratio: its resident tiles a second by PyTorch's, for the same network, size and rows; null where it has none.
"""
import json
import sys

import torch
import torchvision

arch, size, rows = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
torch.manual_seed(1)
model = getattr(torchvision.models, arch)(num_classes=17).eval().cuda().half().to(memory_format=torch.channels_last)
x = torch.randn(rows, 3, size, size, device="cuda", dtype=torch.float16).to(memory_format=torch.channels_last)
fast = torch.compile(model, mode="max-autotune")
times = []
with torch.inference_mode():
    for _ in range(5):
        fast(x)
    for _ in range(9):
        a, b = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        a.record()
        for _ in range(20):
            fast(x)
        b.record()
        b.synchronize()
        times.append(a.elapsed_time(b) / 20e3)
rate = rows / sorted(times)[4]
with open(sys.argv[4], encoding="utf-8") as f:
    runs = [json.loads(line) for line in f]
ours = [r["resident"] for r in runs if "rival" not in r and (r["arch"], r["size"], r["rows"]) == (arch, size, rows)]
print(json.dumps({"arch": arch, "rival": "torch " + torch.__version__, "size": size, "rows": rows, "resident": round(rate),
                  "ratio": round(ours[-1] / rate, 3) if ours else None}))

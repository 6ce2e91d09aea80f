"""Figures, measured in this run on this machine: `python -m meshlab.bench` (or `make bench`).

In: nothing but a machine. Out: tables on the terminal and `bench-results.json`. Whatever can be compared is compared
with no mesh, in the same run, in interleaved rounds. `rows.py` is what a figure is; the cases are `data_path.py`
(against no mesh, and against `handwritten.py`, a pair of Envoys configured by hand), `propagation.py`, `scale.py` and
`life.py`.
"""

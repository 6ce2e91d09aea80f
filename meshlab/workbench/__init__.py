"""The workbench: charts, later panels and lessons.

In: a DataFrame. Out: an `alt.Chart`. A chart never sees a Lab. Open `charts.py` next.
"""

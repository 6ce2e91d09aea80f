"""What happened: events, their schema, the store, frames.

In: `FlowEvent`s that a plane decoded. Out: pandas frames whose columns, dtypes and units are those of `schema.py`.
`store.py` keeps batches as they came; `events.py` is the noun; `frames.py` builds every frame (owns pandas).
"""

"""Ready documents (`*.yaml`, for `-f sample:NAME`) and the programs behind the built-in images.

Imports nothing of meshlab but itself: these run as applications inside pods. `echo/` is `meshlab/echo`.
"""

"""The edge process: the engine, the store and the control API in one."""

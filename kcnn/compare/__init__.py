"""`kcnn compare`: one training on several Keras backends, or finished runs side by side.

`backends` starts one `worker` process a backend and puts the results together; `runs` only reads run directories.
Neither imports keras.
"""

"""A model in half precision, in float32: what runs elsewhere has no Keras policies, and often no bfloat16."""

from typing import Any

HALF = ("bfloat16", "float16", "mixed_bfloat16", "mixed_float16")


def in_float32(model: Any) -> Any:
    """The model, or if a layer computes or keeps weights in half precision, a float32 copy with the same weights.

    Half precision fits into float32 without rounding; logits differ as the copy computes more exactly.
    """
    from kcnn.machine.keras_internals import all_layers, without_tensorflow

    if not any({layer.compute_dtype, layer.variable_dtype} & set(HALF) for layer in all_layers(model)):
        return model
    import keras

    with without_tensorflow():
        config = keras.saving.serialize_keras_object(model)
    config.pop("compile_config", None)
    copy = keras.saving.deserialize_keras_object(_widened(config))
    copy.set_weights(model.get_weights())
    return copy


def _widened(config: Any, key: str = "") -> Any:
    """A Keras configuration with float32 wherever a dtype or a policy of dtypes is half precision."""
    if isinstance(config, dict):
        return {name: _widened(value, "dtype" if key == "dtype" else name) for name, value in config.items()}
    if isinstance(config, (list, tuple)):
        return type(config)(_widened(value) for value in config)
    return "float32" if key == "dtype" and config in HALF else config

"""From a method's name to a method ready to predict: settings, backbone, weights, and what they were trained on."""

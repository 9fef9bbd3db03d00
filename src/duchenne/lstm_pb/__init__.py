"""The LSTM with parametric bias: network, learning, recognition, generation, evidence."""

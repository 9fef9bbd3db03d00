"""Networks that read a whole clip: recurrent and 3D convolutional networks on crops or points."""

"""The app: a local web page to judge and compare clips (`duchenne app`)."""

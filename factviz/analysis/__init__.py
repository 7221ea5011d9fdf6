"""One module per mechanism: model and facts in, result out."""

"""The software of Kaggle's and Colab's images, as data and as environments."""

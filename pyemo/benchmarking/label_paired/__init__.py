"""The label-paired benchmark: ways of fusing a face and a voice, on RAVDESS's voices beside FER2013's faces of the same emotion.

It is not RAVDESS audio-video: see the data set ``label-paired``. What ``pyemo bench label-paired`` runs.
"""

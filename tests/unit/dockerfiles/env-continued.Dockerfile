FROM a
ENV A=1 \
    B=2 \
    # C is set elsewhere
    D="long \
value" \

    E=5

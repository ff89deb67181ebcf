FROM	aASb
COPYxy z
RUNab
ENV A=1B=2C=3

   FROM a
	RUN tab
  	 COPY x y
      ENV A=b
